"""Spool: records wait here, on disk, from the end of their call until the hub has them.

What it promises:
  1. `append` returns True only when the whole record has been written to its file: kill -9 loses nothing after it.
     (The file is fsynced when it is sealed, at most a second later; until then a power cut can take it.)
  2. A segment leaves the disk only by `acknowledge`. Segments are claimed in the order in which they were begun.
  3. Each process writes to a directory of its own, under a lock that dies with it. What a dead one left is adopted
     by `adopt`; a torn last line, of a record that was never promised, is dropped and counted when it is read.
  4. All directories together hold at most `max_bytes` (measured at each `adopt`, exact for this process's own);
     past that the newest record is refused.
  5. Whatever fails here, a call goes on: every record that is not kept is counted in `Losses` by its reason.

    root/                     0700
      <name>.lock             flock: its owner lives
      <name>/                 0700
        …-00000001.ndjson     sealed   ── claim ──> sender ── acknowledge ──> removed
        …-00000002.open       append ──> sealed by size or age
"""

import errno
import logging
import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporters.lock import DirectoryLock
from exporters.losses import Losses
from exporters.segment import OPEN, SEALED, Segment, is_segment, read_segment, segment_name, write_all

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
        root: Path,
        max_bytes: int,
        losses: Losses,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Nothing is touched on disk before the first `append` or `adopt`."""
        self._root = root
        self._max_bytes = max_bytes
        self._losses = losses
        self._segment_bytes = segment_bytes
        self._clock_ns = clock_ns
        self._guard = threading.Lock()
        self._owned: DirectoryLock | None = None
        self._fd = -1
        self._open: Segment | None = None
        self._sealed: deque[Segment] = deque()
        self._claimed: Segment | None = None
        self._unsynced: dict[Path, int] = {}
        self._bytes = 0
        self._records = 0
        self._bytes_elsewhere = 0
        self._counter = 0
        self._closed = False

    def append(self, line: bytes) -> bool:
        """Write one record, JSON without a line end; False if it could not be kept, which is counted."""
        with self._guard:
            reason = self._append(line)
        if reason:
            self._losses.add(reason)
        return reason is None

    def seal(self, older_than_s: float = 0.0) -> None:
        """Seal the open segment if its first record is at least that old."""
        with self._guard:
            if self._open and self._clock_ns() - self._open.created_ns >= older_than_s * 1e9:
                self._seal()

    def claim(self) -> Segment | None:
        """The oldest sealed segment, synced to disk; it stays claimed until acknowledged or given back."""
        with self._guard:
            if self._claimed or not self._sealed:
                return None
            segment = self._claimed = self._sealed.popleft()
            fd = self._unsynced.pop(segment.path, -1)
        if fd >= 0:
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        return segment

    def acknowledge(self, segment: Segment) -> None:
        """The hub has all of it: remove it."""
        segment.path.unlink(missing_ok=True)
        with self._guard:
            self._claimed = None
            self._bytes -= segment.size
            self._records -= segment.records

    def give_back(self, segment: Segment) -> None:
        """It was not sent: it is the next to be claimed again."""
        with self._guard:
            self._claimed = None
            self._sealed.appendleft(segment)

    def backlog(self) -> Backlog:
        """What waits, as known without touching the disk."""
        with self._guard:
            first = self._claimed or (self._sealed[0] if self._sealed else self._open)
            age = (self._clock_ns() - first.created_ns) / 1e9 if first else 0.0
            return Backlog(self._records, self._bytes, max(0.0, age))

    def adopt(self) -> int:
        """Take over what dead processes left; how many segments that were. Nothing is raised."""
        try:
            return self._adopt()
        except OSError as fault:
            log.warning("the spool's directory cannot be searched: %s", fault.strerror)
            return 0

    def close(self) -> None:
        """Seal, and let go of the directory: what is left in it is the next process's to send."""
        with self._guard:
            if self._open:
                self._seal()
            self._closed = True
            for fd in self._unsynced.values():
                os.fsync(fd)
                os.close(fd)
            self._unsynced.clear()
            lock, self._owned = self._owned, None
        if lock:
            try:
                lock.directory.rmdir()
                lock.remove()
            except OSError:
                lock.release()

    def _append(self, line: bytes) -> str | None:
        """The reason why the record was not kept, None if it was."""
        size = len(line) + 1
        if self._closed:
            return "after_close"
        if self._bytes + self._bytes_elsewhere + size > self._max_bytes:
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
        directory = self._own_directory()
        self._counter += 1
        path = directory / (segment_name(self._clock_ns(), self._counter) + OPEN)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._open = Segment(path, 0, 0)
        return self._open

    def _seal(self) -> None:
        segment, fd = self._open, self._fd
        self._open, self._fd = None, -1
        if segment is None:
            return
        sealed = segment.path.with_suffix(SEALED)
        try:
            segment.path.rename(sealed)
        except OSError as fault:  # someone removed the directory: what was in it is gone
            os.close(fd)
            self._forget(segment, fault)
            return
        segment.path = sealed
        self._sealed.append(segment)
        self._unsynced[sealed] = fd

    def _forget(self, segment: Segment, fault: OSError) -> None:
        self._bytes -= segment.size
        self._records -= segment.records
        self._losses.add("spool_removed", segment.records)
        self._owned = None
        log.error("a segment of the spool is gone: %s", fault.strerror)

    def _own_directory(self) -> Path:
        """This process's directory, made at first use; raises OSError."""
        if self._owned is None:
            make_private(self._root)
            name = f"{os.getpid()}-{uuid.uuid4().hex}"
            self._owned = DirectoryLock.take(self._root / f"{name}.lock")
            if self._owned is None:
                raise BlockingIOError(errno.EAGAIN, "the spool's lock is held")
        self._owned.directory.mkdir(mode=0o700, exist_ok=True)
        return self._owned.directory

    def _adopt(self) -> int:
        adopted, elsewhere = 0, 0
        for path in sorted(self._root.glob("*.lock")):
            if self._owned and path == self._owned.path:
                continue
            lock = DirectoryLock.take(path)
            if lock is None:  # its owner lives
                elsewhere += sum(file.stat().st_size for file in path.with_suffix("").glob("*") if file.exists())
                continue
            adopted += self._take_over(lock)
        self._bytes_elsewhere = elsewhere
        return adopted

    def _take_over(self, lock: DirectoryLock) -> int:
        """Move a dead process's segments into our directory, and remove its own."""
        found = sorted(filter(is_segment, lock.directory.glob("*"))) if lock.directory.is_dir() else []
        moved: list[Segment] = []
        for path in found:
            with self._guard:
                target = self._own_directory() / path.with_suffix(SEALED).name
            while target.exists():  # two processes can have begun a segment at the same nanosecond
                target = target.with_name(segment_name(int(target.name[:18], 16) + 1, 0) + SEALED)
            path.rename(target)
            moved.append(read_segment(target))
        if lock.directory.is_dir():
            lock.directory.rmdir()
        lock.remove()
        with self._guard:
            self._bytes += sum(segment.size for segment in moved)
            self._records += sum(segment.records for segment in moved)
            # what a dead process left is older than what this one has sealed
            self._sealed = deque(sorted([*moved, *self._sealed], key=lambda segment: segment.path.name))
        if moved:
            log.info("adopted %d segments of a process that has ended", len(moved))
        return len(moved)


def make_private(directory: Path) -> None:
    """Make a directory that only this user can enter; raises PermissionError if another owns one by that name."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.stat()
    if found.st_uid != os.geteuid():
        raise PermissionError(errno.EACCES, "the spool's directory belongs to another user")
    if found.st_mode & 0o077:
        directory.chmod(0o700)
