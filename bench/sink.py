"""The sink: accepts telemetry like the ingestion of Application Insights, and OTLP, and counts it.

    python -m bench.sink

The first line on stdout is its port. GET / returns the number of envelopes of each kind and of OTLP requests.
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
        self._size = 0

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._size:
            head = self._received.find(b"\r\n\r\n")
            if head < 0:
                return
            length = _LENGTH.search(self._received, 0, head)
            self._size = head + 4 + (int(length[1]) if length else 0)
        if len(self._received) >= self._size:
            response = _respond(bytes(self._received))
            self._received.clear()
            self._size = 0
            head_lines = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            self._transport.write(head_lines % len(response) + response)


def _respond(request: bytes) -> bytes:
    if request.startswith(b"GET "):
        return json.dumps(counts).encode()
    if b"/v2.1/track" not in request[:200]:
        counts[_OTLP] += 1
        return b""
    kinds = [kind.decode() for kind in _KIND.findall(request)]
    counts.update(kinds)
    return json.dumps({"itemsReceived": len(kinds), "itemsAccepted": len(kinds), "errors": []}).encode()


async def serve() -> None:
    """Serve until the process is killed."""
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
