"""The probe: asks /health/live every 10 ms, so that its slowest answer tells how long the proxy's loop stood still.

    python -m tests.chaos.probe URL FILE

Ends at SIGTERM, and then writes FILE: one line of JSON a probe, `[began, seconds]`, times by the system's monotonic
clock. Probes that fail are left out: the proxy is being restarted.
"""

import asyncio
import json
import signal
import sys
import time
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

EVERY_S: Final = 0.01
REQUEST: Final = b"GET /health/live HTTP/1.1\r\nhost: proxy\r\n\r\n"


async def probe(url: str) -> list[tuple[float, float]]:
    """Probe on a connection that is kept, until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    address = urlsplit(url)
    found: list[tuple[float, float]] = []
    while not stopped.is_set():
        try:
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            while not stopped.is_set():
                began = time.monotonic()
                writer.write(REQUEST)
                async with asyncio.timeout(30):
                    await reader.readuntil(b'{"status":"ok"}')
                found.append((began, time.monotonic() - began))
                await asyncio.sleep(max(0.0, began + EVERY_S - time.monotonic()))
            writer.close()
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            await asyncio.sleep(0.1)
    return found


if __name__ == "__main__":
    Path(sys.argv[2]).write_text("".join(json.dumps(one) + "\n" for one in asyncio.run(probe(sys.argv[1]))))
