"""Cores: how long the threads of a process have waited for a core, which is due to the machine and not to them.

The kernel counts it (`run_delay` in Documentation/scheduler/sched-stats.rst). Without it, every run on a busy machine
would report that the proxy stalled.
"""

import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from pathlib import Path


class NeedsLinux(Exception):
    """This system has no /proc to read waits, CPU time and memory of processes from."""


def require_proc() -> None:
    """Raise NeedsLinux on other systems, where `waited` would return 0 and hide it."""
    if sys.platform != "linux":
        raise NeedsLinux(f"The chaos tests need Linux: they read /proc; this is {sys.platform}.")


def waited(pid: int | str) -> float:
    """Seconds that all threads together have waited so far; 0 for a process that has exited."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((thread / "schedstat").read_text().split()[1]) for thread in threads) / 1e9
    except (OSError, ValueError):
        return 0.0


class Waiting:
    """Readings of `waited` over time."""

    def __init__(self, readings: Iterable[tuple[float, float]]) -> None:
        """Each reading is a time and the seconds waited until then."""
        ordered = sorted(readings)
        self._times = [at for at, _ in ordered]
        self._sums = [seconds for _, seconds in ordered]

    def within(self, began: float, seconds: float) -> float:
        """Seconds waited within an interval, at most its length."""
        if not self._times:
            return 0.0
        first = max(0, bisect_right(self._times, began) - 1)
        last = min(len(self._times) - 1, bisect_left(self._times, began + seconds))
        return min(seconds, max(0.0, self._sums[last] - self._sums[first]))
