"""A process of the benchmark with all its children: its processors, CPU time and memory."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Self, cast

from bench.tools import ROOT, Missing

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_START_S: Final = 120.0
_STOP_S: Final = 15.0


class NotStarted(Exception):
    """A process ended or was not ready in time; the message has the end of its log."""


def processors() -> tuple[list[int], list[int]]:
    """Return the processors of the subject and those of everything else; with one processor both are the same."""
    if sys.platform != "linux":
        raise Missing(
            f"The benchmark needs Linux: it reads /proc and pins processes to processors; this is {sys.platform}."
        )
    every = sorted(os.sched_getaffinity(0))
    return every[-1:], every[:-1] or every


@dataclass(frozen=True, slots=True)
class Clock:
    """The processors' time so far, in ticks (proc(5)): in total, and stolen by other machines while work waited."""

    total: int
    stolen: int

    @classmethod
    def now(cls) -> Self:
        """Read the clock of all processors that this process may run on."""
        ours = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        rows = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
        ticks = [[int(tick) for tick in row[1:9]] for row in rows if row[0] in ours]
        return cls(sum(map(sum, ticks)), sum(row[7] for row in ticks))

    def share_stolen_since(self, earlier: Self) -> float:
        """From 0 to 1."""
        return (self.stolen - earlier.stolen) / max(1, self.total - earlier.total)


class Process:
    """Starts when created, until `stop`. Only the first line of its stdout is read: log to stderr."""

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        cpus: Sequence[int],
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """`log` takes its stderr; `environ` is added to a minimal environment. Raises NotStarted."""
        self._command = " ".join(map(str, command))
        self._log = log
        bare = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
        with log.open("wb") as stderr:
            try:
                self._process = subprocess.Popen(
                    command,
                    cwd=ROOT,
                    env={**bare, **(environ or {})},
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    text=True,
                    preexec_fn=lambda: os.sched_setaffinity(0, cpus),
                )
            except OSError as fault:  # e.g. the interpreter that its first line names is missing
                raise NotStarted(f"{self._command} could not be run: {fault.strerror}.") from None

    @property
    def pid(self) -> int:
        return self._process.pid

    def first_line(self) -> str:
        """Wait for the line that it prints when ready. Raises NotStarted."""
        line = cast(IO[str], self._process.stdout).readline()
        if not line:
            raise self._not_started("ended")
        return line

    def wait_ready(self, url: str) -> None:
        """Wait until a GET returns 200. Raises NotStarted."""
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise self._not_started("ended")
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
                return
            time.sleep(0.05)
        raise self._not_started("did not respond")

    def cpu_us(self) -> float:
        """CPU time so far in µs: all threads, even ended ones, and all running children."""
        return sum(_clock_ns(pid) for pid in self._tree()) / 1e3

    def memory_mb(self) -> float:
        """Resident memory, children included."""
        pages = 0
        for pid in self._tree():
            with contextlib.suppress(OSError):
                pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * _PAGE / 1e6

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        cast(IO[str], self._process.stdout).close()

    def _tree(self) -> Iterator[int]:
        pids = [self.pid]
        while pids:
            pid = pids.pop()
            yield pid
            with contextlib.suppress(OSError):
                for task in os.listdir(f"/proc/{pid}/task"):
                    pids += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())

    def _not_started(self, how: str) -> NotStarted:
        lines = self._log.read_text(errors="replace").splitlines()
        return NotStarted("\n".join([f"{self._command} {how}.", *lines[-30:]]))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _clock_ns(pid: int) -> int:
    """Another process's CPU clock in nanoseconds; /proc has only ticks (clock_getcpuclockid(3))."""
    try:
        return time.clock_gettime_ns((~pid << 3) | 2)
    except OSError:  # it has just ended
        return 0
