"""Adoption: takes over the segments of dead processes, and writes a record for each call they had in flight.

A process is dead if its lock is free. Everything here can be interrupted and restarted by another process: a segment is
moved by one rename, and a call's file is removed only after its record has been appended. At worst a record is sent
twice, with the same id.
"""

import logging
from datetime import UTC, datetime
from pathlib import Path

from exporters.directory import OwnDirectory
from exporters.journal import interrupted_lines
from exporters.lock import DirectoryLock
from exporters.record import adopted, record_id
from exporters.segment import SEALED, Segment, is_segment, is_taken, read_segment, segment_name
from exporters.spool import Spool

log = logging.getLogger(__name__)


def adopt(own: OwnDirectory, spool: Spool) -> int:
    """Adopt the directories of dead processes, and measure those of living ones; returns how many were adopted.

    Raises nothing: a directory that cannot be read is retried next time.
    """
    taken, elsewhere = 0, 0
    for path in sorted(own.root.glob("*.lock")):
        if own.owns(path):
            continue
        try:
            lock = DirectoryLock.take(path)
            if lock is None:
                elsewhere += _size(path.with_suffix(""))
                continue
            try:
                taken += _take_over(lock.directory, own, spool)
            except BaseException:
                lock.release()
                raise
            lock.remove()
        except OSError as fault:
            log.warning("a directory of the spool cannot be adopted: %s", fault.strerror)
    spool.bytes_elsewhere = elsewhere
    return taken


def _take_over(directory: Path, own: OwnDirectory, spool: Spool) -> bool:
    """Empty and remove a dead process's directory; False if there is none. Raises OSError."""
    if not directory.is_dir():
        return False
    calls = interrupted_lines(directory)
    segments = sorted(filter(is_segment, directory.iterdir()))
    finished = _finished({record_id(line) for _, line in calls if line}, segments)
    for path in segments:
        segment = _move(path, own.path())
        if segment.size:
            spool.add_segments([segment])
        else:
            segment.path.unlink()
    for path, line in calls:
        # the size limit or the disk may refuse it: that is counted and not retried
        if line and record_id(line) not in finished:
            spool.append(adopted(line, datetime.now(UTC)))
        path.unlink()
    directory.rmdir()
    log.info("adopted %d segments of a process that has ended", len(segments))
    return True


def _finished(ids: set[str | None], segments: list[Path]) -> set[str | None]:
    """Those of `ids` that a segment already holds: the process died after writing the record, before ending the call.

    A torn line does not count, even if its id is readable: it will be dropped.
    """
    if not ids:
        return set()
    return ids & {record_id(line) for path in segments for line in path.read_bytes().split(b"\n")[:-1]}


def _move(path: Path, to: Path) -> Segment:
    target = to / path.with_suffix(SEALED).name
    while is_taken(target):  # two processes can create a segment in the same nanosecond
        created, _, counter = target.stem.partition("-")
        target = to / (segment_name(int(created, 16), int(counter) + 1) + SEALED)
    return read_segment(path.rename(target))


def _size(directory: Path) -> int:
    total = 0
    for path in directory.glob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # its owner has just removed it
            continue
    return total
