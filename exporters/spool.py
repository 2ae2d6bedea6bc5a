"""Spool: holds records on disk from the end of their call until the hub has them.

Invariants:
  1. `append` returns True only when the whole record has been written to its file: kill -9 loses nothing after that.
     (`sync`, which the sender calls every second, fsyncs it; until then a power cut can lose it.)
  2. Only `acknowledge` removes a segment from disk. Segments are claimed in the order of their creation.
  3. Each process writes to its own directory, under a lock that the kernel releases when it dies; `exporters.adoption`
     takes over the directories of dead processes. A torn last line, whose `append` never returned, is dropped and
     counted.
  4. All directories together hold at most `max_bytes` (those of others as measured at the last adoption); past that
     the newest record is refused.
  5. Whatever fails here, the call goes on: `Losses` counts every record that is not kept, by reason.

    root/                     0700
      <name>.lock             flock: its owner is alive
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
    """The waiting records in this process's directory."""

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
        """Touches nothing on disk before the first `append`. `clock_ns` is nanoseconds since the epoch."""
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
        """File descriptors of sealed segments, which stay open until they are synced."""
        self._synced_bytes = 0
        """Bytes of the open segment that are synced."""
        self._bytes = 0
        self._records = 0
        self._counter = 0
        self._newest_ns = 0
        self._closed = False
        self.bytes_elsewhere = 0
        """Bytes in the directories of other living processes, as last measured."""

    def append(self, line: bytes) -> bool:
        """Write one record, JSON without a newline; False, and a loss counted, if it could not be kept."""
        with self._guard:
            reason = self._append(line)
        if reason:
            self._losses.add(reason)
        return reason is None

    def seal(self, older_than_s: float = 0.0) -> None:
        """Seal the open segment if its first record is at least that old, or lies in the future because the clock was
        set back."""
        with self._guard:
            if self._open and not 0 <= self._clock_ns() - self._open.created_ns < older_than_s * 1e9:
                self._seal()

    def sync(self) -> None:
        """Fsync everything appended. Blocks while the disk works: not for the thread that serves calls.

        It also closes the files of sealed segments, which would pile up while the hub is down and nothing is claimed.
        Raises OSError if too many files are open.
        """
        with self._guard:
            opened = -1
            if self._open and self._open.size > self._synced_bytes:
                opened, self._synced_bytes = os.dup(self._fd), self._open.size
            unsynced, self._unsynced = [*self._unsynced.values(), opened], {}
        for fd in unsynced:
            _sync_and_close(fd)

    def claim(self) -> Segment | None:
        """The oldest sealed segment, synced; claimed until acknowledged, given back or set aside, one at a time."""
        with self._guard:
            if self._in_hand or not (self._claimed or self._sealed):
                return None
            # one that was given back comes next: its sender knows how much of it has arrived
            segment = self._claimed = self._claimed or self._sealed.popleft()
            self._in_hand = True
            fd = self._unsynced.pop(segment.path, -1)
        _sync_and_close(fd)
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
            self._bytes -= segment.size
            self._records -= segment.records

    def add_segments(self, segments: Iterable[Segment]) -> None:
        """Queue sealed segments that are in our directory, ordered by age."""
        with self._guard:
            for segment in segments:
                self._bytes += segment.size
                self._records += segment.records
                self._sealed.append(segment)
            self._sealed = deque(sorted(self._sealed, key=lambda segment: segment.path.name))

    def import_segment(self, name: str, content: bytes) -> None:
        """Write and sync a segment from elsewhere, and queue it; raises OSError, and then leaves nothing of it."""
        path = self._directory.path() / name
        if not is_segment(path):
            raise OSError(errno.EINVAL, "not the name of a segment")
        with path.open("xb") as file:
            try:
                os.chmod(path, 0o600)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                path.unlink(missing_ok=True)
                raise
        self.add_segments([read_segment(path)])

    def backlog(self) -> Backlog:
        """The waiting records, without touching the disk."""
        with self._guard:
            first = self._claimed or (self._sealed[0] if self._sealed else self._open)
            age = (self._clock_ns() - first.created_ns) / 1e9 if first else 0.0
            return Backlog(self._records, self._bytes, max(0.0, age))

    def close(self) -> None:
        """Seal and sync; further records are refused. The next process sends what is left."""
        with self._guard:
            if self._open:
                self._seal()
            self._closed = True
        self.sync()

    def _append(self, line: bytes) -> str | None:
        """Why the record was not kept, None if it was."""
        size = len(line) + 1
        if self._closed:
            return "after_close"
        if self._bytes + self.bytes_elsewhere + size > self._max_bytes:
            return "spool_full"
        try:
            segment = self._open or self._create()
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

    def _create(self) -> Segment:
        """Create a segment; raises OSError."""
        directory = self._directory.path()
        # a clock that was set back must not change the order of the names
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
        except FileNotFoundError as fault:  # someone removed the directory and its content
            os.close(fd)
            self._bytes -= segment.size
            self._records -= segment.records
            self._losses.add("spool_removed", segment.records)
            log.error("a segment of the spool is gone: %s", fault.strerror)
            return
        except OSError as fault:
            # such as a disk that became read-only; the suffix only says that the segment is not written to
            log.warning("a segment of the spool cannot be renamed: %s", fault.strerror)
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
