"""Who may call, and by what the proxy itself is let in upstream."""

import asyncio
import hashlib
import hmac
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from app.errors import ProxyError, Unauthorized, UpstreamUnreachable
from app.headers import RawHeaders, first

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.core.exceptions import AzureError

log = logging.getLogger(__name__)

SCOPE: Final = "https://cognitiveservices.azure.com/.default"
REFRESH_S: Final = 300.0


class ClientKeys:
    """Lets in whoever presents one of the keys as `api-key` or bearer; with no keys, everyone.

    Keys are compared by their digests, so that neither a key's bytes nor its length show in the time it takes.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests: Sequence[bytes] = [_digest(key) for key in keys]

    def check(self, headers: RawHeaders) -> None:
        """Raises Unauthorized unless a known key is among the headers."""
        if not self._digests:
            return
        if self._knows(key := first(headers, b"api-key")) or self._knows(bearer := _bearer(headers)):
            return
        raise Unauthorized(
            "Access denied: no valid key in the api-key header or as a bearer token."
            if key or bearer
            else "Access denied: a key is needed in the api-key header or as a bearer token."
        )

    def _knows(self, key: str | None) -> bool:
        if not key:
            return False
        digest = _digest(key)
        # every key is compared, so that the time tells nothing of which one fits
        return sum([hmac.compare_digest(digest, known) for known in self._digests]) > 0


class Tokens(Protocol):
    """Checks bearer tokens that an identity provider gives out."""

    async def check(self, token: str) -> Mapping[str, str]:
        """The caller's fields that the token vouches for; raises ProxyError for one that does not let in."""
        ...


class Access:
    """Lets in whoever presents a client's key or a token; either is enough, and a token says who calls."""

    def __init__(self, keys: ClientKeys | None, tokens: Tokens | None = None) -> None:
        """Without `tokens` only keys count; `keys` may be None where only tokens do."""
        self._keys = keys
        self._tokens = tokens

    async def check(self, headers: RawHeaders) -> Mapping[str, str]:
        """The fields of the caller that can be trusted; raises Unauthorized, or why a token could not be checked."""
        fault: ProxyError | None = None
        if self._tokens is not None and (token := _bearer(headers)) and token.count(".") == 2:
            try:
                return await self._tokens.check(token)
            except ProxyError as refusal:
                fault = refusal
        if self._keys is None:
            raise fault or Unauthorized("Access denied: a token of Entra ID is needed as a bearer token.")
        try:
            self._keys.check(headers)
        except Unauthorized as refusal:
            raise fault or refusal from None
        return {}


class UpstreamAuth(Protocol):
    """What to present to an Azure OpenAI resource."""

    async def header(self) -> tuple[str, str]:
        """The header's name and value."""
        ...


class KeyAuth:
    """A resource's own key."""

    def __init__(self, key: str) -> None:
        self._header = ("api-key", key)

    async def header(self) -> tuple[str, str]:
        """`api-key` and the key."""
        return self._header


class EntraAuth:
    """A token of the proxy's identity, fetched once for all who ask meanwhile.

    The next one is fetched from five minutes before it expires; nobody waits for that while the one in hand serves.
    """

    def __init__(self, credential: "AsyncTokenCredential", clock: Callable[[], float] = time.time) -> None:
        self._credential = credential
        self._clock = clock
        self._fetching: asyncio.Task[AzureError | None] | None = None
        self._value = ""
        self._expires = 0.0

    async def header(self) -> tuple[str, str]:
        """`authorization` and the token; raises UpstreamUnreachable when none can be had."""
        left = self._expires - self._clock()
        if left < REFRESH_S and (self._fetching is None or self._fetching.done()):
            self._fetching = asyncio.create_task(self._fetch())
        if left <= 0 and self._fetching is not None:
            fault = await asyncio.shield(self._fetching)  # a caller that leaves takes the token from nobody
            if fault is not None:
                raise UpstreamUnreachable("No Entra ID token for Azure OpenAI could be had.") from fault
        return "authorization", self._value

    async def _fetch(self) -> "AzureError | None":
        """Take a new token, or return why there is none: it may be that nobody waits for the fault."""
        from azure.core.exceptions import AzureError

        try:
            token = await self._credential.get_token(SCOPE)
        except AzureError as fault:
            log.warning("no Entra ID token for Azure OpenAI could be had: %s", type(fault).__name__)
            return fault
        self._value, self._expires = f"Bearer {token.token}", float(token.expires_on)
        return None


def _bearer(headers: RawHeaders) -> str | None:
    scheme, _, token = (first(headers, b"authorization") or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
