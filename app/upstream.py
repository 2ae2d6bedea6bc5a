"""The session over which upstream is asked: one for the process, pooled, and changing nothing."""

from contextvars import ContextVar
from typing import Any, Final

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

CONNECT_S: Final = 10.0
IDLE_S: Final = 30.0  # below the time after which Azure's front ends close an idle connection

_connected: ContextVar[bool] = ContextVar("connected", default=False)


class Pool(TCPConnector):
    """Tells whether a request went over a connection of its own; aiohttp's own way to tell takes a tenth of a call."""

    async def _create_connection(self, *arguments: Any) -> Any:
        _connected.set(True)
        return await super()._create_connection(*arguments)

    @staticmethod
    def watch() -> None:
        """Forget what requests of this task did before."""
        _connected.set(False)

    @staticmethod
    def reused() -> bool:
        """Whether this task's request, since `watch`, was given a connection that was kept from an earlier one."""
        return not _connected.get()


def open_session() -> ClientSession:
    """A session without decompression, cookies, redirects or headers of its own.

    Must be called on the loop it is to be used on. How long a call may take is its deadline's to say.
    """
    return ClientSession(
        connector=Pool(limit=0, keepalive_timeout=IDLE_S, ttl_dns_cache=60),
        timeout=ClientTimeout(total=None, sock_connect=CONNECT_S),
        cookie_jar=DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
    )
