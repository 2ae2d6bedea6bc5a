"""The worker process from the host's point of view: messages, log lines, output, and exit."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import Any, Self

SCRIPT = Path(__file__).with_name("proxy_worker.py")
PATIENCE = 120.0  # seconds until waiting for the worker fails; measures no promise


class Worker(AbstractAsyncContextManager["Worker"]):
    """Starts proxy_worker.py in the given environment, sends requests, collects its output, and ends it."""

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        loop: str = "asyncio",
        prelude: Path | None = None,
        python: Path = Path(sys.executable),
    ) -> None:
        ours = {"PATH": os.environ["PATH"], "FUNCTIONS_WORKER_RUNTIME": "python", "PYTHONFAULTHANDLER": "1"}
        self.environment = {**ours, **environment}
        self._python = str(python)
        self._arguments = [loop, *([str(prelude)] if prelude else [])]
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._changed = asyncio.Condition()
        self._listeners: list[asyncio.Task[None]] = []
        self.lines: list[str] = []

    async def __aenter__(self) -> Self:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = await asyncio.create_subprocess_exec(
                self._python, str(SCRIPT), str(theirs.fileno()), *self._arguments,
                pass_fds=[theirs.fileno()], env=self.environment, stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, limit=2**24,
            )  # fmt: skip
        messages, self._channel = await asyncio.open_connection(sock=ours, limit=2**24)
        assert self.process.stdout
        assert self.process.stderr
        outputs = (self.process.stdout, self.process.stderr)
        listening = [self._take_messages(messages), *map(self._take_lines, outputs)]
        self._listeners = [asyncio.create_task(listen) for listen in listening]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.exit_code()
        self._channel.close()
        with suppress(OSError):
            await self._channel.wait_closed()

    async def ask(self, name: str, **body: Any) -> dict[str, Any]:
        """Call one of the runtime's five coroutines with a request of these fields, and return its response."""
        number = len(self._answers)
        self._answers[number] = answer = asyncio.get_running_loop().create_future()
        self._channel.write(json.dumps({"id": number, "name": name, "body": body}).encode() + b"\n")
        async with asyncio.timeout(PATIENCE):
            result: dict[str, Any] = await answer
        return result

    def lines_with(self, part: str) -> list[str]:
        """The lines so far that contain `part`."""
        return [line for line in self.lines if part in line]

    async def wait_for(self, part: str, times: int = 1) -> None:
        """Wait until the worker has printed or logged that many lines that contain `part`."""
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(lambda: len(self.lines_with(part)) >= times)

    async def exit_code(self) -> int:
        """Wait until the process has exited and `lines` has all of its output."""
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait(self._listeners)
            code = await self.process.wait()
        if code < 0 and code != -signal.SIGKILL:
            print("".join(self.lines))  # shows where it crashed
        return code

    async def _take_messages(self, messages: asyncio.StreamReader) -> None:
        try:
            async for line in messages:
                message = json.loads(line)
                if "log" in message:
                    await self._add(message["log"])
                else:
                    self._answers[message["id"]].set_result(message["answer"])
        except ConnectionResetError:
            pass  # the worker was killed with unread messages in the channel

    async def _take_lines(self, lines: asyncio.StreamReader) -> None:
        async for line in lines:
            await self._add(line.decode())

    async def _add(self, line: str) -> None:
        async with self._changed:
            self.lines.append(line)
            self._changed.notify_all()
