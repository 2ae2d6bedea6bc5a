"""The probe: asks /health/live every 20 ms, so that its slowest answer tells how long the proxy's loop stood still.

    python -m tests.chaos.probe URL UPSTREAM FILE

It asks the upstream, which has next to nothing to do, just as often: when that is slow it is the machine that stands
still. Ends at SIGTERM, and then writes FILE: one line of JSON a probe, `[began, seconds, seconds of upstream]`, times
by the system's monotonic clock. Probes that fail are left out: the proxy is being restarted.
"""

import asyncio
import json
import signal
import sys
import time
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

EVERY_S: Final = 0.02


class Target:
    """A connection that is kept, and made again when it breaks."""

    def __init__(self, url: str, path: str) -> None:
        self._address = urlsplit(url)
        self._request = f"GET {path} HTTP/1.1\r\nhost: {self._address.netloc}\r\n\r\n".encode()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self) -> float | None:
        """How many seconds an answer took; None if there was none."""
        try:
            async with asyncio.timeout(30):
                if self._streams is None:
                    self._streams = await asyncio.open_connection(self._address.hostname, self._address.port)
                reader, writer = self._streams
                began = time.monotonic()
                writer.write(self._request)
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length))
                return time.monotonic() - began
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            self.close()
            await asyncio.sleep(0.1)
            return None

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None


async def probe(url: str, upstream: str) -> list[tuple[float, float, float]]:
    """Probe until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    proxy, machine = Target(url, "/health/live"), Target(upstream, "/count")
    found: list[tuple[float, float, float]] = []
    while not stopped.is_set():
        began = time.monotonic()
        answered = await asyncio.gather(proxy.ask(), machine.ask())
        if answered[0] is not None and answered[1] is not None:
            found.append((began, answered[0], answered[1]))
        await asyncio.sleep(max(0.0, began + EVERY_S - time.monotonic()))
    proxy.close()
    machine.close()
    return found


if __name__ == "__main__":
    Path(sys.argv[3]).write_text("".join(json.dumps(one) + "\n" for one in asyncio.run(probe(*sys.argv[1:3]))))
