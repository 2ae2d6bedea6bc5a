"""Adoption: takes over the segments of dead processes, and makes a record of each call they had in flight.

A process is dead if its lock is free. Everything here can be interrupted and restarted by another process: a segment is
moved by one rename, and so is a call's file, which then is a segment of one record: that takes no space, so a full disk
and a full spool lose nothing. At worst a record is sent twice, with the same id.
"""

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from exporters.directory import OwnDirectory
from exporters.journal import SLOT
from exporters.lock import DirectoryLock
from exporters.moving import UNFINISHED
from exporters.record import adopted, record_id
from exporters.segment import SEALED, Segment, is_segment, is_taken, read_segment, segment_name
from exporters.spool import Spool

log = logging.getLogger(__name__)

HEAD: Final = 4096
"""Bytes of a call's line that hold its id and its timestamp."""


class Adoption:
    """What one process takes over from others. Runs in the sender's thread."""

    def __init__(self, own: OwnDirectory, spool: Spool) -> None:
        self._own = own
        self._spool = spool
        self._reported: set[Path] = set()

    def run(self) -> int:
        """Adopt the directories of dead processes, and measure those of living ones; returns how many were adopted.

        Raises nothing: a directory that cannot be read is retried next time.
        """
        taken, elsewhere = 0, 0
        for path in sorted(self._own.root.glob("*.lock")):
            if self._own.owns(path):
                continue
            try:
                lock = DirectoryLock.take(path)
                if lock is None:
                    elsewhere += _size(path.with_suffix(""))
                    continue
                try:
                    taken += self._take_over(lock.directory)
                except BaseException:
                    lock.release()
                    raise
                lock.remove()
            except OSError as fault:
                elsewhere += _size(path.with_suffix(""))
                log.warning("a directory of the spool cannot be adopted: %s", fault.strerror)
        for directory in self._without_lock():
            try:
                taken += self._take_over_unlocked(directory)
            except OSError as fault:
                elsewhere += _size(directory)
                if directory not in self._reported:
                    self._reported.add(directory)
                    log.error("%s holds records, has no lock file and cannot be adopted: %s", directory, fault.strerror)
        self._spool.room.elsewhere = elsewhere
        return taken

    def _without_lock(self) -> Iterator[Path]:
        """Directories with records whose lock file was removed, or never was where they are now."""
        with contextlib.suppress(FileNotFoundError):
            for path in sorted(self._own.root.iterdir()):
                with contextlib.suppress(OSError):
                    if path.is_dir() and not path.with_suffix(".lock").exists() and any(map(_is_ours, path.iterdir())):
                        yield path

    def _take_over_unlocked(self, directory: Path) -> bool:
        """Adopt a directory if no living process has it open; False if one has. Raises OSError if that is unknown."""
        if self._own.owns(directory.with_suffix(".lock")):
            return False  # its lock file is made again soon
        try:
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return self._take_over(directory)
        except BlockingIOError:
            return False
        finally:
            os.close(fd)

    def _take_over(self, directory: Path) -> bool:
        """Empty and remove a dead process's directory; False if there is none. Raises OSError."""
        if not directory.is_dir():
            return False
        segments = sorted(filter(is_segment, directory.iterdir()))
        calls = {path: _call_in(path) for path in sorted(directory.glob(f"*{SLOT}"))}
        finished = _finished(set(calls.values()), segments)
        for path in segments:
            self._move(path, path.with_suffix(SEALED).name)
        for path, call in calls.items():
            if call is None or call in finished:
                path.unlink()
            else:
                _date(path)
                self._move(path, segment_name(time.time_ns(), 0) + SEALED)
        for path in directory.glob(f"*{UNFINISHED}"):
            path.unlink()
        directory.rmdir()
        log.info("adopted %d segments and %d calls of a process that has ended", len(segments), len(calls))
        return True

    def _move(self, path: Path, name: str) -> None:
        """Make it a segment of this process, of that name or the next one that is free."""
        target = self._own.path() / name
        while is_taken(target):  # two processes can create a segment in the same nanosecond
            created, _, counter = target.stem.partition("-")
            target = target.with_name(segment_name(int(created, 16), int(counter) + 1) + SEALED)
        segment: Segment = read_segment(path.rename(target))
        if segment.size:
            self._spool.add_segments([segment])
        else:
            segment.path.unlink()


def _is_ours(path: Path) -> bool:
    return is_segment(path) or path.suffix == SLOT


def _call_in(path: Path) -> str | None:
    """The id of the call in flight that a slot holds; None for a free slot and a torn one."""
    with path.open("rb") as file:
        head = file.read(HEAD)
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
        return record_id(head) if file.read(1) == b"\n" else None


def _date(path: Path) -> None:
    """Set the timestamp in the line of an interrupted call, in place."""
    with path.open("r+b") as file:
        dated = adopted(file.read(HEAD), datetime.now(UTC))
        file.seek(0)
        file.write(dated)


def _finished(ids: set[str | None], segments: list[Path]) -> set[str | None]:
    """Those of `ids` that a segment already holds: the process died after writing the record, before ending the call.

    A torn line does not count, even if its id is readable: it will be dropped.
    """
    if not ids - {None}:
        return set()
    return ids & {record_id(line) for path in segments for line in path.read_bytes().split(b"\n")[:-1]}


def _size(directory: Path) -> int:
    total = 0
    for path in directory.glob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # its owner has just removed it
            continue
    return total
