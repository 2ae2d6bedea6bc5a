"""The clients: calls at a steady rate, alternately JSON and streams, each with its own number in the prompt.

    python -m tests.chaos.load URL FILE --rate 200

On SIGTERM it writes FILE and exits: one line of JSON per call, `[number, began, seconds, waited, outcome]`, by the
system's monotonic clock: its duration, and how much of it this process waited for a core. A broken call is retried as
a new call.
"""

import argparse
import asyncio
import json
import os
import signal
import time
from pathlib import Path
from typing import Final

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from tests.chaos.cores import require_proc, waited
from tests.kit.proxy import KEY
from tests.kit.wire import CHAT

type MadeCall = tuple[int, float, float, float, str]

MAX_OPEN: Final = 50
RETRY_S: Final = 0.1
TEXT: Final = "Tell me about reliability. " * 20
"""Makes a record of about 1.5 KB."""


class Load:
    """Makes calls, numbers them and keeps their outcomes."""

    def __init__(self, session: ClientSession, url: str) -> None:
        self._session = session
        self._url = url + CHAT
        self._next = 0
        self.calls: list[MadeCall] = []

    async def call(self) -> None:
        """Call until a response is complete."""
        while True:
            if await self._attempt():
                return
            await asyncio.sleep(RETRY_S)

    async def _attempt(self) -> bool:
        number = self._next
        self._next += 1
        stream = b'"stream":true,' if number % 2 else b""
        body = b'{%b"messages":[{"role":"user","content":"call %d. %b"}]}' % (stream, number, TEXT.encode())
        began, waiting = time.monotonic(), waited(os.getpid())
        try:
            async with self._session.post(self._url, data=body) as response:
                content = await response.read()
                whole = response.status == 200 and (b"data: [DONE]" in content if stream else b'"usage"' in content)
                outcome = "whole" if whole else f"status {response.status}" if response.status != 200 else "broken"
        except (ClientError, OSError, TimeoutError) as fault:
            outcome = type(fault).__name__
        self.calls.append((number, began, time.monotonic() - began, waited(os.getpid()) - waiting, outcome))
        return outcome == "whole"


async def run(url: str, rate: float) -> list[MadeCall]:
    """Make calls at that rate until SIGTERM; late ones start as soon as possible."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    headers = {"api-key": KEY, "content-type": "application/json"}
    timeout = ClientTimeout(total=60)
    async with ClientSession(connector=TCPConnector(limit=0), headers=headers, timeout=timeout) as session:
        load, running = Load(session, url), set[asyncio.Task[None]]()
        began, begun = time.monotonic(), 0
        while not stopped.is_set():
            due = int((time.monotonic() - began) * rate) - begun
            for _ in range(min(due, MAX_OPEN - len(running))):
                task = asyncio.create_task(load.call())
                running.add(task)
                task.add_done_callback(running.discard)
                begun += 1
            await asyncio.sleep(0.005)
        await asyncio.gather(*running)
    return load.calls


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("file", type=Path)
    parser.add_argument("--rate", type=float, required=True)
    arguments = parser.parse_args()
    require_proc()
    calls = asyncio.run(run(arguments.url, arguments.rate))
    arguments.file.write_text("".join(json.dumps(call) + "\n" for call in calls))


if __name__ == "__main__":
    main()
