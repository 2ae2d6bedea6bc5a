"""The sink: takes telemetry as Application Insights' ingestion does, and OTLP, and counts what came.

    python -m bench.sink

The first line on stdout is its port. GET / gives the envelopes of each kind so far, and the OTLP requests.
"""

import asyncio
import json
import re
from collections import Counter
from typing import Final

_KIND: Final = re.compile(rb'"baseType":\s*"(\w+)"')
_LENGTH: Final = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.I)
_OTLP: Final = "OTLP"

counts: Counter[str] = Counter()


class Connection(asyncio.Protocol):
    """One keep-alive connection; requests come one at a time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._received = bytearray()
        self._whole = 0

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._whole:
            head = self._received.find(b"\r\n\r\n")
            if head < 0:
                return
            length = _LENGTH.search(self._received, 0, head)
            self._whole = head + 4 + (int(length[1]) if length else 0)
        if len(self._received) >= self._whole:
            answer = _answer(bytes(self._received))
            self._received.clear()
            self._whole = 0
            head_lines = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            self._transport.write(head_lines % len(answer) + answer)


def _answer(request: bytes) -> bytes:
    if request.startswith(b"GET "):
        return json.dumps(counts).encode()
    if b"/v2.1/track" not in request[:200]:
        counts[_OTLP] += 1
        return b""
    kinds = [kind.decode() for kind in _KIND.findall(request)]
    counts.update(kinds)
    return json.dumps({"itemsReceived": len(kinds), "itemsAccepted": len(kinds), "errors": []}).encode()


async def serve() -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
