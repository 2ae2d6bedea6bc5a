"""The processes that `dev.up` runs: started, watched and stopped together. Their logs go to files."""

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NoReturn, Self

_ROOT: Final = Path(__file__).parents[2]
_LAST_LINES: Final = 20
_STOP_S: Final = 5.0


class ChildEnded(Exception):
    """A process ended unexpectedly; `last_lines` is the end of its log."""

    def __init__(self, name: str, status: int, last_lines: str) -> None:
        how = f"ended with status {status}" if status >= 0 else f"was killed by signal {-status}"
        super().__init__(f"The {name} {how}.")
        self.last_lines = last_lines


class Child:
    """One of the processes."""

    def __init__(self, name: str, process: Process, log: Path) -> None:
        self.name = name
        self._process = process
        self._log = log

    async def ready_message(self) -> dict[str, Any]:
        """Wait for the JSON object that a stand-in prints when ready. Raises ChildEnded."""
        ready: dict[str, Any] = json.loads(await self.first_line())
        return ready

    async def first_line(self) -> str:
        """Wait for its first line of output. Raises ChildEnded."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            await self.watch()
        return line.decode().rstrip("\n")

    async def watch(self) -> NoReturn:
        """Wait for the process to end unexpectedly. Raises ChildEnded."""
        status = await self._process.wait()
        lines = self._log.read_text(errors="replace").splitlines()
        raise ChildEnded(self.name, status, "\n".join(lines[-_LAST_LINES:]))

    async def stop(self) -> None:
        """Stop it with SIGTERM, then with SIGKILL."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
            try:
                async with asyncio.timeout(_STOP_S):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
        await self._process.wait()


class Children:
    """All processes, stopped at the end of an `async with` in reverse order."""

    def __init__(self, group: asyncio.TaskGroup, logs: Path) -> None:
        """A process that ends before that raises ChildEnded in `group`. `logs` is the directory for log files."""
        self._group = group
        self._logs = logs
        self._children: list[Child] = []
        self._watches: list[asyncio.Task[NoReturn]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        for watch in self._watches:
            watch.cancel()
        for child in reversed(self._children):
            await child.stop()

    async def stand_in(self, name: str, module: str, *options: str) -> Child:
        """Start `python -m MODULE` on a free port, to exit with this process."""
        return await self._start(name, PIPE, "-m", module, "--port", "0", "--parent-pid", str(os.getpid()), *options)

    async def server(self, name: str, application: str, port: int, environ: Mapping[str, str]) -> Child:
        """Start uvicorn with an application factory on 127.0.0.1."""
        arguments = ("-m", "uvicorn", application, "--factory", "--host", "127.0.0.1", "--port", str(port))
        return await self._start(name, DEVNULL, *arguments, "--no-access-log", environ=environ)

    async def program(self, name: str, module: str, *options: str, environ: Mapping[str, str] | None = None) -> Child:
        """Start `python -m MODULE` through dev.tied, so that it exits with this process."""
        return await self._start(name, PIPE, "-m", "dev.tied", module, *options, environ=environ)

    async def _start(self, name: str, stdout: int, *arguments: str, environ: Mapping[str, str] | None = None) -> Child:
        log = self._logs / f"{name}.log"
        with log.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *arguments,
                cwd=_ROOT,
                env=environ,
                stdin=PIPE,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,  # Ctrl-C reaches only this process, which stops the others in order
            )
        child = Child(name, process, log)
        self._children.append(child)
        self._watches.append(self._group.create_task(child.watch()))
        return child
