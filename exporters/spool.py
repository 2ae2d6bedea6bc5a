"""Spool: holds records on disk from the end of their call until the hub has them.

Invariants:
  1. `append` returns True only when the whole record has been written to its file: kill -9 loses nothing after that.
     (`sync`, which the sender calls every second, fsyncs it; until then a power cut can lose it.)
  2. Only `acknowledge` removes a segment from disk. Segments are claimed in the order of their creation.
  3. Each process writes to its own directory, under a lock that the kernel releases when it dies; `exporters.adoption`
     takes over the directories of dead processes. A torn last line, whose `append` never returned, is dropped and
     counted.
  4. All directories together, calls in flight included, hold at most `max_bytes` (those of others as measured at the
     last adoption); past that the newest record is refused.
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
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from exporters.directory import OwnDirectory
from exporters.lock import OpenDirectory, is_at
from exporters.losses import Losses
from exporters.moving import carry
from exporters.room import Room
from exporters.segment import (
    OPEN,
    SEALED,
    Segment,
    is_segment,
    is_taken,
    read_segment,
    segment_name,
    sync_and_close,
    write_all,
)
from exporters.waiting import Backlog, Waiting

log = logging.getLogger(__name__)

SEGMENT_BYTES: Final = 1024 * 1024


class Spool(Waiting):
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
        super().__init__(Room(max_bytes))
        self._directory = directory
        self._losses = losses
        self._segment_bytes = segment_bytes
        self._clock_ns = clock_ns
        self._open: Segment | None = None
        self._synced_bytes = 0
        """Bytes of the open segment that are synced."""
        self._counter = 0
        self._newest_ns = 0
        self._closed = False

    def append(self, line: bytes, instead_of: int = 0) -> bool:
        """Write one record, JSON without a newline; False, and a loss counted, if it could not be kept.

        `instead_of` is the size of the call's file in the journal, which the caller removes next.
        """
        with self._guard:
            reason = self._append(line, instead_of)
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
                opened, self._synced_bytes = os.dup(self._open.fd), self._open.size
            unsynced = [segment.fd for segment in self._sealed]
            for segment in self._sealed:
                segment.fd = -1
            unsynced.append(opened)
        for fd in unsynced:
            sync_and_close(fd)

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

    def move(self, left: OpenDirectory, to: Path) -> None:
        """Move the segments that lie in a former directory of this process; raises OSError, and can be repeated.

        For the thread that claims: it may take long where another disk has been mounted over the root.
        """
        self.sync()
        with self._guard:
            opened, sealed = self._open, [*filter(None, (self._claimed,)), *self._sealed]
            if opened and opened.path.parent == left.path:
                opened.path = carry(opened.path.name, left, to, opened.fd)
        for segment in sealed:
            if segment.path.parent == left.path:
                segment.path = carry(segment.path.name, left, to)

    def backlog(self) -> Backlog:
        """The waiting records, without touching the disk."""
        with self._guard:
            first = self._claimed or (self._sealed[0] if self._sealed else self._open)
            age = (self._clock_ns() - first.created_ns) / 1e9 if first else 0.0
            return Backlog(self._records, self.room.waiting, max(0.0, age))

    def close(self) -> None:
        """Seal and sync; further records are refused. The next process sends what is left."""
        with self._guard:
            if self._open:
                self._seal()
            self._closed = True
        self.sync()

    def _append(self, line: bytes, instead_of: int) -> str | None:
        """Why the record was not kept, None if it was."""
        size = len(line) + 1
        if self._closed:
            return "after_close"
        if not self.room.fits(size, instead_of):
            return "spool_full"
        try:
            segment = self._open or self._create()
            write_all(segment.fd, line)
        except OSError as fault:
            return "disk_full" if fault.errno in (errno.ENOSPC, errno.EDQUOT) else "spool_unwritable"
        segment.size += size
        segment.records += 1
        self.room.waiting += size
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
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._open, self._synced_bytes = Segment(path, 0, 0, fd), 0
        return self._open

    def _seal(self) -> None:
        segment, self._open = self._open, None
        if segment is None:
            return
        sealed = segment.path.with_suffix(SEALED)
        try:
            if not os.fstat(segment.fd).st_nlink:
                self._removed(segment)
                return
            if is_at(segment.fd, segment.path):  # else it is moved soon (`exporters.upkeep`)
                segment.path.rename(sealed)
                segment.path = sealed
        except OSError as fault:
            # such as a disk that became read-only; the suffix only says that the segment is not written to
            log.warning("a segment of the spool cannot be renamed: %s", fault.strerror)
        self._sealed.append(segment)

    def _removed(self, segment: Segment) -> None:
        """Someone removed the directory and its content."""
        os.close(segment.fd)
        self.room.waiting -= segment.size
        self._records -= segment.records
        self._losses.add("spool_removed", segment.records)
        log.error("a segment of the spool is gone")
