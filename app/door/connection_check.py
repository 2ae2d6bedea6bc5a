"""Whether uvicorn and httptools are as `GuardedConnection` knows them: a few requests, without a network."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, cast

from app.errors import ProxyError

_OFFER: Final = (
    b"POST /a HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: h2c\r\ntransfer-encoding: chunked\r\n\r\n"
    b"2\r\n{}\r\n0\r\nx-trailer: a\r\nconnection: close\r\n\r\n"
)
_LAST: Final = b"GET /b HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"


class _Later:
    """A task or a timer that never runs."""

    def add_done_callback(self, callback: object) -> None: ...

    def cancel(self) -> None: ...


class _Loop:
    """A loop that runs nothing."""

    def __init__(self) -> None:
        self.started = 0

    def create_task(self, coroutine: Coroutine[Any, Any, None], **_: object) -> _Later:
        coroutine.close()
        self.started += 1
        return _Later()

    def call_later(self, seconds: float, callback: Callable[..., object], *_: object) -> _Later:
        return _Later()


class _Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.ended = False

    def write(self, data: "bytes | bytearray | memoryview[int]") -> None:
        self.written += data

    def close(self) -> None:
        self.ended = True

    def is_closing(self) -> bool:
        return self.ended

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def why_not_guarded() -> str | None:
    """Why connections cannot be guarded, or None. Raises whatever changed internals raise."""
    import uvicorn
    from uvicorn.server import ServerState

    from app.door.connection import HEAD_BYTES, GuardedConnection

    refused: list[ProxyError] = []

    def connected() -> tuple[GuardedConnection, _Loop, _Transport]:
        config = uvicorn.Config(lambda scope: None, log_config=None, http="httptools", ws="none")
        loop, transport = _Loop(), _Transport()
        connection = GuardedConnection(
            config, ServerState(), {}, cast(Any, loop), error_body=lambda error: b"{}", refuse=refused.append
        )
        connection.connection_made(transport)
        return connection, loop, transport

    connection, loop, _ = connected()
    connection.data_received(_OFFER)
    cycle = connection.cycle
    names = [name for name, _ in cycle.scope["headers"]]
    if (loop.started, bytes(cycle.body), cycle.more_body, b"x-trailer" in names) != (1, b"{}", False, False):
        return "uvicorn or httptools reads an offer to upgrade, or trailers, in another way"
    connection.data_received(_LAST + _LAST)
    if len(connection.pipeline) != 1:
        return "uvicorn or httptools reads `connection: close` in another way"
    connection, loop, transport = connected()
    connection.data_received(b"GET /a HTTP/1.1\r\nx: ")
    connection.data_received(b"a" * (HEAD_BYTES + 1))
    if (loop.started, transport.written[:12], len(refused)) != (0, b"HTTP/1.1 431", 1):
        return "uvicorn or httptools reads a head without end in another way"
    return None
