"""The clients: calls at a steady rate, JSON and streams by turns, each with a number of its own in its prompt.

    python -m tests.chaos.load URL FILE --rate 200

Ends at SIGTERM, and then writes FILE: one line of JSON a call, `[number, began, seconds, waited, outcome]`, times by
the system's monotonic clock: how long it took, and how much of that this process waited for a core. A call that breaks
is made again, as a new call.
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

from tests.chaos.cores import waited
from tests.kit.proxy import KEY
from tests.kit.wire import CHAT

type Made = tuple[int, float, float, float, str]

MOST_AT_ONCE: Final = 50
AGAIN_S: Final = 0.1
TEXT: Final = "Tell me about reliability. " * 20
"""Makes a record of some 1.5 KB."""


class Load:
    """Counts what it asked for and how it went."""

    def __init__(self, session: ClientSession, url: str) -> None:
        self._session = session
        self._url = url + CHAT
        self._next = 0
        self.calls: list[Made] = []

    async def call(self) -> None:
        """Call until an answer is whole."""
        while True:
            if await self._attempt():
                return
            await asyncio.sleep(AGAIN_S)

    async def _attempt(self) -> bool:
        number = self._next
        self._next += 1
        stream = b'"stream":true,' if number % 2 else b""
        body = b'{%b"messages":[{"role":"user","content":"call %d. %b"}]}' % (stream, number, TEXT.encode())
        began, waiting = time.monotonic(), waited(os.getpid())
        try:
            async with self._session.post(self._url, data=body) as answer:
                content = await answer.read()
                whole = answer.status == 200 and (b"data: [DONE]" in content if stream else b'"usage"' in content)
                outcome = "whole" if whole else f"status {answer.status}" if answer.status != 200 else "broken"
        except (ClientError, OSError, TimeoutError) as fault:
            outcome = type(fault).__name__
        self.calls.append((number, began, time.monotonic() - began, waited(os.getpid()) - waiting, outcome))
        return outcome == "whole"


async def run(url: str, rate: float) -> list[Made]:
    """Make calls at that rate, the late ones as soon as may be, until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    headers = {"api-key": KEY, "content-type": "application/json"}
    timeout = ClientTimeout(total=60)
    async with ClientSession(connector=TCPConnector(limit=0), headers=headers, timeout=timeout) as session:
        load, running = Load(session, url), set[asyncio.Task[None]]()
        began, begun = time.monotonic(), 0
        while not stopped.is_set():
            due = int((time.monotonic() - began) * rate) - begun
            for _ in range(min(due, MOST_AT_ONCE - len(running))):
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
    calls = asyncio.run(run(arguments.url, arguments.rate))
    arguments.file.write_text("".join(json.dumps(call) + "\n" for call in calls))


if __name__ == "__main__":
    main()
