"""Who may call, and by what the proxy itself is let in upstream."""

import asyncio
import hashlib
import hmac
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from app.errors import Unauthorized, UpstreamUnreachable
from app.headers import RawHeaders, first

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

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
        headers = list(headers)
        bearer = first(headers, b"authorization") or ""
        scheme, _, token = bearer.partition(" ")
        presented = [first(headers, b"api-key"), token.strip() if scheme.lower() == "bearer" else None]
        for key in filter(None, presented):
            digest = _digest(key)
            # every key is compared, so that the time tells nothing of which one fits
            if sum(hmac.compare_digest(digest, known) for known in self._digests):
                return
        raise Unauthorized(
            "Access denied: no valid key in the api-key header or as a bearer token."
            if any(presented)
            else "Access denied: a key is needed in the api-key header or as a bearer token."
        )


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
    """A token of the proxy's identity, kept until shortly before it expires and fetched once for all who wait."""

    def __init__(self, credential: "AsyncTokenCredential", clock: Callable[[], float] = time.time) -> None:
        self._credential = credential
        self._clock = clock
        self._lock = asyncio.Lock()
        self._value = ""
        self._expires = 0.0

    async def header(self) -> tuple[str, str]:
        """`authorization` and the token; raises UpstreamUnreachable when none can be had."""
        if self._expires - self._clock() < REFRESH_S:
            async with self._lock:
                if self._expires - self._clock() < REFRESH_S:
                    await self._refresh()
        return "authorization", self._value

    async def _refresh(self) -> None:
        from azure.core.exceptions import AzureError

        try:
            token = await self._credential.get_token(SCOPE)
        except AzureError as fault:
            if self._expires > self._clock():
                return  # the one in hand still serves
            raise UpstreamUnreachable("No Entra ID token for Azure OpenAI could be had.") from fault
        self._value, self._expires = f"Bearer {token.token}", float(token.expires_on)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
