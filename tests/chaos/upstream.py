"""A minimal upstream, fast enough not to matter, that remembers every call it saw.

    python -m tests.chaos.upstream

The first line on stdout is its port. GET /seen returns `[[number, trace id, span id], …]`: the number from the
prompt, the ids from the proxy's traceparent; GET /count returns how many. A stream sends events 10 ms apart.
"""

import asyncio
import json
import re
import signal
from typing import Final

from tests.kit.wire import STREAM_WITH_USAGE, chat_json

NUMBER: Final = re.compile(rb"call (\d+)")
TRACE: Final = re.compile(rb"\r\ntraceparent: 00-([0-9a-f]{32})-([0-9a-f]{16})-", re.I)
LENGTH: Final = re.compile(rb"\r\ncontent-length: (\d+)", re.I)
PAUSE_S: Final = 0.01
JSON: Final = chat_json()
JSON_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-ms-region: East US\r\ncontent-length: %d\r\n\r\n"
)
STREAM_HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"

seen: list[tuple[int, str, str]] = []


class Connection(asyncio.Protocol):
    """One keep-alive connection; requests come one at a time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not end or (length and len(rest) < int(length[1])):
            return
        self._received = b""
        if head.startswith(b"GET"):
            self._respond(json.dumps(len(seen) if b"/count" in head else seen).encode())
            return
        number, trace = NUMBER.search(rest), TRACE.search(head)
        assert number, rest
        assert trace, head
        seen.append((int(number[1]), trace[1].decode(), trace[2].decode()))
        loop = asyncio.get_running_loop()
        if b'"stream":true' in rest:
            self._transport.write(STREAM_HEAD)
            loop.call_later(PAUSE_S, self._stream, 0)
        else:
            loop.call_later(PAUSE_S, self._respond, JSON)

    def _respond(self, body: bytes) -> None:
        self._transport.write(JSON_HEAD % len(body) + body)

    def _stream(self, sent: int) -> None:
        if self._transport.is_closing():
            return
        events = b"".join(STREAM_WITH_USAGE[sent : sent + 3])
        self._transport.write(b"%x\r\n%s\r\n" % (len(events), events))
        if sent + 3 < len(STREAM_WITH_USAGE):
            asyncio.get_running_loop().call_later(PAUSE_S, self._stream, sent + 3)
        else:
            self._transport.write(b"0\r\n\r\n")


async def serve() -> None:
    """Serve until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await stopped.wait()
    server.abort_clients()


if __name__ == "__main__":
    asyncio.run(serve())
