"""The probe: requests /health/live every 20 ms; the slowest response shows the longest stall of the proxy's event loop.

    python -m tests.chaos.probe URL PIDFILE FILE

On SIGTERM it writes FILE and exits: one line of JSON per probe, `[began, seconds, waited, before, after]`, by the
system's monotonic clock: its duration, how much of it this process waited for a core, and how long the proxy had
waited for one before and after it. Failed probes are omitted: the proxy is restarting.
"""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from tests.chaos.cores import require_proc, waited

EVERY_S: Final = 0.02

type Probe = tuple[float, float, float, float, float]


class Target:
    """A keep-alive connection that reconnects when it breaks."""

    def __init__(self, url: str, path: str) -> None:
        self._address = urlsplit(url)
        self._request = f"GET {path} HTTP/1.1\r\nhost: {self._address.netloc}\r\n\r\n".encode()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self) -> float | None:
        """Seconds until the response; None if there was none."""
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


async def probe(url: str, proxy_pid: Callable[[], str]) -> list[Probe]:
    """Probe until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    target = Target(url, "/health/live")
    found: list[Probe] = []
    while not stopped.is_set():
        pid = proxy_pid()
        before, own = waited(pid), waited(os.getpid())
        began = time.monotonic()
        seconds = await target.ask()
        if seconds is not None:
            found.append((began, seconds, waited(os.getpid()) - own, before, waited(pid)))
        await asyncio.sleep(max(0.0, began + EVERY_S - time.monotonic()))
    target.close()
    return found


if __name__ == "__main__":
    require_proc()
    found = asyncio.run(probe(sys.argv[1], Path(sys.argv[2]).read_text))
    Path(sys.argv[3]).write_text("".join(json.dumps(one) + "\n" for one in found))
