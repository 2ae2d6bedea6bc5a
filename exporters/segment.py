"""Segment: one sealed file of records, named so that it tells its age and its place in the order.

    0000018f3c2a9b1e40-00000007.ndjson      sealed, waiting to be sent
    0000018f3c2a9b1e40-00000008.open        being written

The first number is the time of creation (nanoseconds since the epoch, hexadecimal), the second a counter.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SEALED: Final = ".ndjson"
OPEN: Final = ".open"
_NAME: Final = re.compile(r"[0-9a-f]{18}-\d{8,}\.(ndjson|open)")


@dataclass(slots=True)
class Segment:
    """A sealed file of newline-terminated records. `records` may count a torn one until `lines` has read it."""

    path: Path
    size: int
    records: int

    @property
    def created_ns(self) -> int:
        """When its first record came, nanoseconds since the epoch."""
        return int(self.path.name.partition("-")[0], 16)

    def lines(self) -> tuple[list[memoryview], int]:
        """The whole records, in order, and the bytes of a torn last line, which a crash in mid-write leaves."""
        content, lines, start = self.path.read_bytes(), [], 0
        whole = memoryview(content)
        while (end := content.find(b"\n", start)) >= 0:  # a tenth of what `split` takes, which looks at each byte
            lines.append(whole[start:end])
            start = end + 1
        return lines, len(content) - start


def segment_name(created_ns: int, counter: int) -> str:
    """A name without its ending; names sort in the order of creation."""
    return f"{created_ns:018x}-{counter:08d}"


def is_segment(path: Path) -> bool:
    """Whether a file is a segment, open or sealed, by its name."""
    return _NAME.fullmatch(path.name) is not None


def is_taken(path: Path) -> bool:
    """Whether a segment of that name, open or sealed, is there: renaming another to it would destroy it."""
    return path.with_suffix(OPEN).exists() or path.with_suffix(SEALED).exists()


def read_segment(path: Path) -> Segment:
    """A segment found on disk, such as a dead process leaves. Raises OSError."""
    with path.open("rb") as file:
        records = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    return Segment(path, path.stat().st_size, records)


def write_all(fd: int, line: bytes) -> None:
    """Append a line and its end with one write(2); raises OSError, and leaves nothing of a line it could not end."""
    written = os.writev(fd, (line, b"\n"))
    while written <= len(line):
        # a disk that just became full takes a part, and says why only when it is given the rest
        try:
            written += os.writev(fd, (line[written:], b"\n"))
        except OSError:
            os.ftruncate(fd, os.fstat(fd).st_size - written)  # or the next record would be glued to it
            raise
