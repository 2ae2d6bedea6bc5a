"""The session over which upstream is asked: one for the process, pooled, and changing nothing."""

from types import SimpleNamespace
from typing import Final

from aiohttp import (
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
    TraceConfig,
    TraceConnectionReuseconnParams,
)

CONNECT_S: Final = 10.0
IDLE_S: Final = 30.0  # below the time after which Azure's front ends close an idle connection


class Connection:
    """Handed to a request as its `trace_request_ctx`, to tell of the connection that it went over."""

    def __init__(self) -> None:
        self.reused = False


def open_session() -> ClientSession:
    """A session without decompression, cookies, redirects or headers of its own.

    Must be called on the loop it is to be used on. How long a call may take is its deadline's to say.
    """
    telling = TraceConfig()
    telling.on_connection_reuseconn.append(_note_reuse)
    return ClientSession(
        connector=TCPConnector(limit=0, keepalive_timeout=IDLE_S, ttl_dns_cache=60),
        timeout=ClientTimeout(total=None, sock_connect=CONNECT_S),
        cookie_jar=DummyCookieJar(),
        auto_decompress=False,
        trace_configs=[telling],
        skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
    )


async def _note_reuse(
    session: ClientSession, context: SimpleNamespace, connection: TraceConnectionReuseconnParams
) -> None:
    if context.trace_request_ctx is not None:  # a request that does not want to know
        context.trace_request_ctx.reused = True
