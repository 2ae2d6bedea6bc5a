"""Who may call: client keys, Entra ID tokens, or either."""

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from app.errors import ProxyError, Unauthorized
from app.headers import RawHeaders, first


class ClientKeys:
    """Admits a request that carries one of the keys in a key header or as a bearer token; with no keys, every request.

    Keys are compared by digest, so the comparison time reveals neither a key's bytes nor its length.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests: Sequence[bytes] = [_digest(key) for key in keys]

    def check(self, headers: RawHeaders, key_headers: Sequence[bytes]) -> None:
        """Raises Unauthorized unless a known key is in one of `key_headers` or a bearer token."""
        if not self._digests:
            return
        given = False
        for name in key_headers:
            key = first(headers, name)
            if self._knows(key):
                return
            given |= bool(key)
        bearer = _bearer(headers)
        if self._knows(bearer):
            return
        where = f"in the {' or '.join(name.decode() for name in key_headers)} header or as a bearer token"
        wrong = given or bool(bearer)
        raise Unauthorized(f"Access denied: {'no valid key' if wrong else 'a key is needed'} {where}.")

    def _knows(self, key: str | None) -> bool:
        if not key:
            return False
        digest = _digest(key)
        # compare every key: the time must not reveal which one matches
        return sum([hmac.compare_digest(digest, known) for known in self._digests]) > 0


class Tokens(Protocol):
    """Checks bearer tokens that an identity provider issues."""

    async def check(self, token: str) -> Mapping[str, str]:
        """The caller's fields that the token vouches for; raises ProxyError if the token is refused."""
        ...


class Access:
    """Admits a request with a client key or a token; either is enough, and a token says who calls."""

    def __init__(self, keys: ClientKeys | None, tokens: Tokens | None = None) -> None:
        """Without `tokens` only keys are accepted; with `keys` None, only tokens."""
        self._keys = keys
        self._tokens = tokens

    async def check(self, headers: RawHeaders, key_headers: Sequence[bytes]) -> Mapping[str, str]:
        """The caller's fields that can be trusted; raises Unauthorized, or the reason a token could not be checked.

        A key may be in one of `key_headers` or in the bearer token.
        """
        fault: ProxyError | None = None
        if self._tokens is not None and (token := _bearer(headers)) and token.count(".") == 2:
            try:
                return await self._tokens.check(token)
            except ProxyError as refusal:
                fault = refusal
        if self._keys is None:
            raise fault or Unauthorized("Access denied: an Entra ID token is needed as a bearer token.")
        try:
            self._keys.check(headers, key_headers)
        except Unauthorized as refusal:
            raise fault or refusal from None
        return {}


def _bearer(headers: RawHeaders) -> str | None:
    scheme, _, token = (first(headers, b"authorization") or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
