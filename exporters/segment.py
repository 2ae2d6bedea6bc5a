"""Segment: one sealed file of records, whose name gives its age and its place in the order.

    0000018f3c2a9b1e40-00000007.ndjson      sealed, waiting to be sent
    0000018f3c2a9b1e40-00000008.open        being written

The first number is the time of creation (nanoseconds since the epoch, hexadecimal), the second a counter.
"""

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

SEALED: Final = ".ndjson"
OPEN: Final = ".open"
_NAME: Final = re.compile(r"[0-9a-f]{18}-\d{8,}\.(ndjson|open)")


@dataclass(slots=True)
class Segment:
    """A sealed file of newline-terminated records. `records` may count a torn one until `lines` has read it."""

    path: Path
    size: int
    records: int
    fd: int = -1
    """Its file, open until it is synced; -1 if closed."""

    @property
    def created_ns(self) -> int:
        """When its first record was written, in nanoseconds since the epoch."""
        return int(self.path.name.partition("-")[0], 16)

    def lines(self) -> tuple[list[memoryview], int]:
        """The complete records, in order, and the size of a torn last line, left by a crash during a write."""
        content, lines, start = self.path.read_bytes(), [], 0
        whole = memoryview(content)
        while (end := content.find(b"\n", start)) >= 0:  # ten times faster than `split`, which looks at each byte
            lines.append(whole[start:end])
            start = end + 1
        return lines, len(content) - start


def segment_name(created_ns: int, counter: int) -> str:
    """A name without its suffix; names sort in the order of creation."""
    return f"{created_ns:018x}-{counter:08d}"


def is_segment(path: Path) -> bool:
    """Whether the file's name is that of a segment, open or sealed."""
    return _NAME.fullmatch(path.name) is not None


def is_taken(path: Path) -> bool:
    """Whether a segment of that name, open or sealed, exists: renaming another to it would overwrite it."""
    return path.with_suffix(OPEN).exists() or path.with_suffix(SEALED).exists()


def read_segment(path: Path) -> Segment:
    """A segment found on disk, such as one left by a dead process. Raises OSError."""
    with path.open("rb") as file:
        records = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    return Segment(path, path.stat().st_size, records)


def write_all(fd: int, line: bytes) -> None:
    """Append a line and a newline with one writev(2); raises OSError, and then leaves nothing of the line."""
    written = os.writev(fd, (line, b"\n"))
    while written <= len(line):
        # a disk that just became full takes a part, and reports the error only for the rest
        try:
            written += os.writev(fd, (line[written:], b"\n"))
        except OSError:
            os.ftruncate(fd, os.fstat(fd).st_size - written)  # else the next record would be appended to it
            raise


def sync_and_close(fd: int) -> None:
    """Fsync a file and close it; does nothing for -1. Blocks while the disk works."""
    if fd >= 0:
        try:
            os.fsync(fd)
        except OSError as fault:
            log.error("a segment could not be synced to disk: %s", fault.strerror)
        finally:
            os.close(fd)
