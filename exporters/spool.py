"""Spool: records wait here, on disk, from the end of their call until the hub has them.

What it promises:
  1. `append` returns True only when the whole record has been written to its file: kill -9 loses nothing after it.
     (It is fsynced by `sync`, which the sender calls every second; until then a power cut can take it.)
  2. A segment leaves the disk only by `acknowledge`. Segments are claimed in the order in which they were begun.
  3. Each process writes to a directory of its own, under a lock that dies with it; see `exporters.adoption` for
     what becomes of a dead one's. A torn last line, of a record that was never promised, is dropped and counted.
  4. All directories together hold at most `max_bytes` (those of others as measured at the last adoption); past that
     the newest record is refused.
  5. Whatever fails here, a call goes on: every record that is not kept is counted in `Losses` by its reason.

    root/                     0700
      <name>.lock             flock: its owner lives
      <name>/                 0700
        …-00000001.ndjson     sealed   ── claim ──> sender ── acknowledge ──> removed
        …-00000002.open       append ──> sealed by size or age
        0000.call             a call in flight (`exporters.journal`)
"""

import errno
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporters.directory import OwnDirectory
from exporters.losses import Losses
from exporters.segment import OPEN, SEALED, Segment, is_segment, is_taken, read_segment, segment_name, write_all

log = logging.getLogger(__name__)

SEGMENT_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in this process's directory."""

    records: int
    bytes: int
    oldest_seconds: float


class Spool:
    """One process's records on disk. Any thread may append; one thread claims and acknowledges."""

    def __init__(
        self,
        directory: OwnDirectory,
        max_bytes: int,
        losses: Losses,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Nothing is touched on disk before the first `append`. `clock_ns` counts from the epoch."""
        self._directory = directory
        self._max_bytes = max_bytes
        self._losses = losses
        self._segment_bytes = segment_bytes
        self._clock_ns = clock_ns
        self._guard = threading.Lock()
        self._fd = -1
        self._open: Segment | None = None
        self._sealed: deque[Segment] = deque()
        self._claimed: Segment | None = None
        self._in_hand = False
        self._unsynced: dict[Path, int] = {}
        """Sealed segments, and their files, which stay open until they are synced."""
        self._synced_bytes = 0
        """Of the open segment."""
        self._bytes = 0
        self._records = 0
        self._counter = 0
        self._newest_ns = 0
        self._closed = False
        self.bytes_elsewhere = 0
        """What the directories of other living processes hold, as last measured."""

    def append(self, line: bytes) -> bool:
        """Write one record, JSON without a line end; False if it could not be kept, which is counted."""
        with self._guard:
            reason = self._append(line)
        if reason:
            self._losses.add(reason)
        return reason is None

    def seal(self, older_than_s: float = 0.0) -> None:
        """Seal the open segment if its first record is at least that old, or of a time that the clock has yet to reach
        again, having been set back."""
        with self._guard:
            if self._open and not 0 <= self._clock_ns() - self._open.created_ns < older_than_s * 1e9:
                self._seal()

    def sync(self) -> None:
        """Bring to disk all that was appended. Blocks for as long as the disk takes: not for a thread that serves.

        While the hub is away nothing is claimed, and each sealed segment would keep its file open. Raises OSError when
        too many are.
        """
        with self._guard:
            opened = -1
            if self._open and self._open.size > self._synced_bytes:
                opened, self._synced_bytes = os.dup(self._fd), self._open.size
            unsynced, self._unsynced = [*self._unsynced.values(), opened], {}
        for fd in unsynced:
            _sync_and_close(fd)

    def claim(self) -> Segment | None:
        """The oldest sealed segment, synced to disk; claimed until acknowledged or given back, one at a time."""
        with self._guard:
            if self._in_hand or not (self._claimed or self._sealed):
                return None
            # the one given back stays the next: its sender knows how much of it has arrived
            segment = self._claimed = self._claimed or self._sealed.popleft()
            self._in_hand = True
            fd = self._unsynced.pop(segment.path, -1)
        _sync_and_close(fd)
        return segment

    def acknowledge(self, segment: Segment) -> None:
        """The hub has all of it: remove it."""
        try:
            segment.path.unlink(missing_ok=True)
        except OSError as fault:  # such as a disk that is read-only now: who finds the segment sends it once more
            log.error("a segment that was sent cannot be removed: %s", fault.strerror)
        self.set_aside(segment)

    def give_back(self, segment: Segment) -> None:
        """It was not sent: it is the next to be claimed again."""
        with self._guard:
            self._claimed, self._in_hand = segment, False

    def set_aside(self, segment: Segment) -> None:
        """Go on without a claimed one. Its file stays, for `take_in` or for the next process."""
        with self._guard:
            self._claimed, self._in_hand = None, False
            self._bytes -= segment.size
            self._records -= segment.records

    def take_in(self, segments: Iterable[Segment]) -> None:
        """Add sealed segments that were moved into our directory, in the place that their age gives them."""
        with self._guard:
            for segment in segments:
                self._bytes += segment.size
                self._records += segment.records
                self._sealed.append(segment)
            self._sealed = deque(sorted(self._sealed, key=lambda segment: segment.path.name))

    def import_segment(self, name: str, content: bytes) -> None:
        """Add a segment that comes from elsewhere, synced to disk; raises OSError, and leaves nothing of it then."""
        path = self._directory.path() / name
        if not is_segment(path):
            raise OSError(errno.EINVAL, "no segment's name")
        with path.open("xb") as file:
            try:
                os.chmod(path, 0o600)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                path.unlink(missing_ok=True)
                raise
        self.take_in([read_segment(path)])

    def backlog(self) -> Backlog:
        """What waits, as known without touching the disk."""
        with self._guard:
            first = self._claimed or (self._sealed[0] if self._sealed else self._open)
            age = (self._clock_ns() - first.created_ns) / 1e9 if first else 0.0
            return Backlog(self._records, self._bytes, max(0.0, age))

    def close(self) -> None:
        """Seal and sync; no record is taken any more. What is left is the next process's to send."""
        with self._guard:
            if self._open:
                self._seal()
            self._closed = True
        self.sync()

    def _append(self, line: bytes) -> str | None:
        """The reason why the record was not kept, None if it was."""
        size = len(line) + 1
        if self._closed:
            return "after_close"
        if self._bytes + self.bytes_elsewhere + size > self._max_bytes:
            return "spool_full"
        try:
            segment = self._open or self._begin()
            write_all(self._fd, line)
        except OSError as fault:
            return "disk_full" if fault.errno in (errno.ENOSPC, errno.EDQUOT) else "spool_unwritable"
        segment.size += size
        segment.records += 1
        self._bytes += size
        self._records += 1
        if segment.size >= self._segment_bytes:
            self._seal()
        return None

    def _begin(self) -> Segment:
        """Open a new segment; raises OSError."""
        directory = self._directory.path()
        # a clock that is set back must not change the order of the names
        self._newest_ns = max(self._clock_ns(), self._newest_ns)
        self._counter += 1
        while is_taken(path := directory / (segment_name(self._newest_ns, self._counter) + OPEN)):
            self._counter += 1
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._open, self._synced_bytes = Segment(path, 0, 0), 0
        return self._open

    def _seal(self) -> None:
        segment, fd = self._open, self._fd
        self._open, self._fd = None, -1
        if segment is None:
            return
        sealed = segment.path.with_suffix(SEALED)
        try:
            segment.path.rename(sealed)
        except FileNotFoundError as fault:  # someone removed the directory: what was in it is gone
            os.close(fd)
            self._bytes -= segment.size
            self._records -= segment.records
            self._losses.add("spool_removed", segment.records)
            log.error("a segment of the spool is gone: %s", fault.strerror)
            return
        except OSError as fault:  # such as a disk that is read-only now: the name only tells that it is not written to
            log.warning("a segment of the spool keeps its name: %s", fault.strerror)
        else:
            segment.path = sealed
        self._sealed.append(segment)
        self._unsynced[segment.path] = fd


def _sync_and_close(fd: int) -> None:
    if fd >= 0:
        try:
            os.fsync(fd)
        except OSError as fault:
            log.error("a segment could not be synced to disk: %s", fault.strerror)
        finally:
            os.close(fd)
