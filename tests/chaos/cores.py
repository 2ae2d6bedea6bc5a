"""Cores: how long the threads of a process have waited for one, which is the machine's doing and not theirs.

The kernel counts it (`run_delay` in Documentation/scheduler/sched-stats.rst). Without that every run on a machine with
other work on it would find that the proxy stood still.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from pathlib import Path


def waited(pid: int | str) -> float:
    """Seconds that all threads together have waited so far; 0 for a process that is gone."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((thread / "schedstat").read_text().split()[1]) for thread in threads) / 1e9
    except (OSError, ValueError):
        return 0.0


class Waiting:
    """What `waited` said at some moments."""

    def __init__(self, readings: Iterable[tuple[float, float]]) -> None:
        """Moments, and the seconds waited until then."""
        ordered = sorted(readings)
        self._moments = [moment for moment, _ in ordered]
        self._sums = [seconds for _, seconds in ordered]

    def within(self, began: float, seconds: float) -> float:
        """How much of some time went into waiting, at most all of it."""
        if not self._moments:
            return 0.0
        first = max(0, bisect_right(self._moments, began) - 1)
        last = min(len(self._moments) - 1, bisect_left(self._moments, began + seconds))
        return min(seconds, max(0.0, self._sums[last] - self._sums[first]))
