"""Waiting: the sealed segments of one process in the order of their creation, and how much waits in all.

The spool adds them (`exporters.spool`); the sender's thread claims one at a time and acknowledges it.
"""

import logging
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from exporters.room import Room
from exporters.segment import Segment, sync_and_close

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Backlog:
    """The waiting records in this process's directory."""

    records: int
    bytes: int
    oldest_seconds: float


class Waiting:
    """Any thread may look; one thread claims and acknowledges."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self._guard = threading.Lock()
        self._sealed: deque[Segment] = deque()
        self._claimed: Segment | None = None
        self._in_hand = False
        self._records = 0

    def claim(self) -> Segment | None:
        """The oldest sealed segment, synced; claimed until acknowledged, given back or set aside, one at a time."""
        with self._guard:
            if self._in_hand or not (self._claimed or self._sealed):
                return None
            # one that was given back comes next: its sender knows how much of it has arrived
            segment = self._claimed = self._claimed or self._sealed.popleft()
            self._in_hand = True
            fd, segment.fd = segment.fd, -1
        sync_and_close(fd)
        return segment

    def acknowledge(self, segment: Segment) -> None:
        """Remove a segment: the hub has all of it."""
        try:
            segment.path.unlink(missing_ok=True)
        except OSError as fault:  # such as a disk that became read-only: whoever finds the segment sends it again
            log.error("a segment that was sent cannot be removed: %s", fault.strerror)
        self.set_aside(segment)

    def give_back(self, segment: Segment) -> None:
        """Return a segment that was not sent; it is claimed again next."""
        with self._guard:
            self._claimed, self._in_hand = segment, False

    def set_aside(self, segment: Segment) -> None:
        """Skip a claimed segment. Its file stays, for `add_segments` or for the next process."""
        with self._guard:
            self._claimed, self._in_hand = None, False
            self.room.waiting -= segment.size
            self._records -= segment.records

    def add_segments(self, segments: Iterable[Segment]) -> None:
        """Queue sealed segments that are in our directory, ordered by age."""
        with self._guard:
            for segment in segments:
                self.room.waiting += segment.size
                self._records += segment.records
                self._sealed.append(segment)
            self._sealed = deque(sorted(self._sealed, key=lambda segment: segment.path.name))
