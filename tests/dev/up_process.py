"""Up: `python -m dev.up` as a process, its output and its children."""

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parents[2]
PATIENCE_S = 120.0
READY = r"(?m)^proxy .* ready for calls$"
SERVING = r"(?m)^time +trace_id .*$"


class Up:
    """A running `dev.up` and its output so far."""

    def __init__(self, *options: str, python: tuple[str, ...] = ("-m", "dev.up"), **environ: str) -> None:
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("AZURE_", "PROXY_"))}
        self.process = subprocess.Popen(
            [sys.executable, *python, *(options or ("--port", "0"))],
            cwd=ROOT,
            env=ours | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output = ""
        self._ended = False
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.status()

    def _read(self) -> None:
        assert self.process.stdout
        with self.process.stdout as lines:
            for line in lines:
                with self._more:
                    self.output += line
                    self._more.notify_all()
        with self._more:
            self._ended = True
            self._more.notify_all()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until the output matches."""
        with self._more:
            self._more.wait_for(lambda: self._ended or re.search(pattern, self.output), PATIENCE_S)
        found = re.search(pattern, self.output)
        assert found, f"{pattern} is not in:\n{self.output}"
        return found

    def section(self, title: str) -> str:
        """Return the text below a title."""
        return self.wait_for(rf"(?ms)^── {title} .*?$(.*?)^── ")[1]

    def children(self) -> dict[int, str]:
        """Its child processes: ids and command lines."""
        return {pid: args for pid, parent, args in processes() if parent == self.process.pid}

    def status(self) -> int:
        """Wait until it exits; return its exit status."""
        status = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return status


def processes() -> list[tuple[int, int, str]]:
    """Id, parent's id and command line of all processes except zombies."""
    columns = ["ps", "-A", "-ww", "-o", "pid=", "-o", "ppid=", "-o", "stat=", "-o", "args="]
    listed = subprocess.run(columns, capture_output=True, text=True, check=True).stdout
    rows = (line.split(None, 3) for line in listed.splitlines())
    return [(int(row[0]), int(row[1]), row[3]) for row in rows if not row[2].startswith("Z")]


def alive(ids: set[int]) -> set[int]:
    return ids & {pid for pid, _, _ in processes()}
