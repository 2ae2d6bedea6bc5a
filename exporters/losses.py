"""Losses: counts every lost record, by reason."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)


class Losses:
    """Counts lost records by reason, from any thread, and logs each reason at most once a minute."""

    QUIET_S = 60.0

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: Counter[str] = Counter()
        self._logged: dict[str, float] = {}
        self._lock = threading.Lock()

    def add(self, reason: str, records: int = 1) -> None:
        """Count `records` lost for `reason`, one lower-case word or several joined by `_`."""
        with self._lock:
            self._counts[reason] += records
            total = self._counts[reason]
            now = self._clock()
            quiet = now - self._logged.get(reason, -self.QUIET_S) < self.QUIET_S
            if not quiet:
                self._logged[reason] = now
        if not quiet:
            log.error("records lost: reason=%s total=%d", reason, total)

    def by_reason(self) -> Mapping[str, int]:
        """How many records were lost so far, by reason."""
        with self._lock:
            return dict(self._counts)
