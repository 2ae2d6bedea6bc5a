"""Merges the small files of an hour, sixteen of a size class into one, so that many small batches stay fast to read.

Size classes are powers of sixteen, so a row is rewritten a few times at most. Files over the limit are left alone. The
caller holds the table's lock.
"""

import sys
from collections.abc import Iterator
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from analytics.consume.writer import with_all_columns
from analytics.folder import Folder
from analytics.table import Part, current, parts, writer

FAN: Final = 16
_SMALL: Final = 64 << 10
"""Bytes below which all files are of one class: an empty one has some 20,000, for the metadata of 60 columns."""
_LIMIT: Final = 64 << 20
"""Bytes above which a file is not merged."""
_GROUP_ROWS: Final = 50_000
_GROUP_BYTES: Final = 64 << 20


def merge(
    folder: Folder, hour: str, stream: str, partition: str, position: int = sys.maxsize, *, closed: bool = False
) -> int:
    """Merge the files of one partition in one hour, up to its checkpoint; in a closed hour, all that are not large.

    Returns the number of files merged.
    """
    found = parts(folder, f"{hour}/{stream}-{partition}-")
    sizes = {part: size for part, size in found.items() if part.last <= position}
    merged = 0
    for run in list(_runs([(part, sizes[part]) for part in current(sizes)], closed)):
        _merge(folder, run)
        merged += len(run)
    return merged


def _runs(sized: list[tuple[Part, int]], closed: bool) -> Iterator[list[Part]]:
    """Adjacent files to merge into one. In an open hour: the newest files of the last one's size class or smaller."""
    if closed:
        run: list[Part] = []
        total = 0
        for part, size in sized:
            if run and total + size > _LIMIT:
                if len(run) > 1:
                    yield run
                run, total = [], 0
            run.append(part)
            total += size
        if len(run) > 1:
            yield run
        return
    newest = _size_class(sized[-1][1]) if sized else 0
    run = []
    for part, size in reversed(sized):
        if _size_class(size) > newest or size > _LIMIT // FAN:
            break
        run.insert(0, part)
    if len(run) >= FAN:
        yield run


def _size_class(size: int) -> int:
    found = 0
    while size > _SMALL:
        size //= FAN
        found += 1
    return found


def _merge(folder: Folder, run: list[Part]) -> None:
    """Write one file from several, then delete those. Until then it covers them, so readers ignore them."""
    first = run[0]
    into = Part(first.hour, first.stream, first.partition, first.first, run[-1].last)
    sink = pa.BufferOutputStream()
    with writer(sink) as file:
        pending: list[pa.Table] = []
        for part in run:
            with folder.open(part.name) as source:
                pending.append(with_all_columns(pq.read_table(source)))
            if (
                sum(rows.num_rows for rows in pending) > _GROUP_ROWS
                or sum(rows.nbytes for rows in pending) > _GROUP_BYTES
            ):
                file.write_table(pa.concat_tables(pending))
                pending.clear()
        if pending:
            file.write_table(pa.concat_tables(pending))
    folder.write(into.name, memoryview(sink.getvalue()))
    for part in run:
        folder.delete(part.name)
