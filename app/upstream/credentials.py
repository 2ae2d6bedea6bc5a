"""What the proxy presents to an Azure OpenAI resource: the resource's key, or a token of the proxy's own identity."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from app.errors import UpstreamUnreachable

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.core.exceptions import AzureError

log = logging.getLogger(__name__)

REFRESH_S: Final = 300.0


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
    """A token of the proxy's identity; concurrent callers share one fetch.

    It is renewed in the background from five minutes before it expires.
    """

    def __init__(self, credential: "AsyncTokenCredential", scope: str, clock: Callable[[], float] = time.time) -> None:
        self._scope = scope
        self._credential = credential
        self._clock = clock
        self._fetching: asyncio.Task[AzureError | None] | None = None
        self._value = ""
        self._expires = 0.0

    async def header(self) -> tuple[str, str]:
        """`authorization` and the token; raises UpstreamUnreachable if no token can be fetched."""
        left = self._expires - self._clock()
        if left < REFRESH_S and (self._fetching is None or self._fetching.done()):
            self._fetching = asyncio.create_task(self._fetch())
        if left <= 0 and self._fetching is not None:
            fault = await asyncio.shield(self._fetching)  # one caller's cancellation must not cancel it for the others
            if fault is not None:
                raise UpstreamUnreachable("No Entra ID token for Azure OpenAI could be fetched.") from fault
        return "authorization", self._value

    async def _fetch(self) -> "AzureError | None":
        """Fetch a new token. Returns the fault instead of raising it: no caller may be waiting for the task."""
        from azure.core.exceptions import AzureError

        try:
            token = await self._credential.get_token(self._scope)
        except AzureError as fault:
            log.warning("no Entra ID token for Azure OpenAI could be fetched: %s", type(fault).__name__)
            return fault
        self._value, self._expires = f"Bearer {token.token}", float(token.expires_on)
        return None
