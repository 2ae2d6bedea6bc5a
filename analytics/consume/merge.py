"""Merges the small files of an hour, sixteen of a kind into one: a table of many small batches stays quick to read.

Sizes are told apart by powers of sixteen, so a row is written again a few times at most. What is over the limit is left
alone. Whoever calls holds the table's lock.
"""

import sys
from collections.abc import Iterator
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from analytics.consume.writer import whole
from analytics.folder import Folder
from analytics.table import Part, current, parts, writer

FAN: Final = 16
_SMALL: Final = 64 << 10
"""Bytes below which all files are of one kind: an empty one has some 20,000, for the names of 60 columns."""
_LIMIT: Final = 64 << 20
"""Bytes beyond which a file is large enough."""
_GROUP_ROWS: Final = 50_000
_GROUP_BYTES: Final = 64 << 20


def merge(
    folder: Folder, hour: str, stream: str, partition: str, position: int = sys.maxsize, *, closed: bool = False
) -> int:
    """Merge what there is to merge of one partition in one hour up to its checkpoint; in a closed hour all files that
    are not large.

    Returns the number of files that were merged into others.
    """
    found = parts(folder, f"{hour}/{stream}-{partition}-")
    sizes = {part: size for part, size in found.items() if part.last <= position}
    merged = 0
    for run in list(_runs([(part, sizes[part]) for part in current(sizes)], closed)):
        _merge(folder, run)
        merged += len(run)
    return merged


def _runs(sized: list[tuple[Part, int]], closed: bool) -> Iterator[list[Part]]:
    """Neighbours that become one file. In an open hour the run of the newest: those no larger in kind than the last."""
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
    kind = _kind(sized[-1][1]) if sized else 0
    run = []
    for part, size in reversed(sized):
        if _kind(size) > kind or size > _LIMIT // FAN:
            break
        run.insert(0, part)
    if len(run) >= FAN:
        yield run


def _kind(size: int) -> int:
    kind = 0
    while size > _SMALL:
        size //= FAN
        kind += 1
    return kind


def _merge(folder: Folder, run: list[Part]) -> None:
    """Write one file of several, then delete those. In between they are covered by it, and do not count."""
    first = run[0]
    into = Part(first.hour, first.stream, first.partition, first.first, run[-1].last)
    sink = pa.BufferOutputStream()
    with writer(sink) as file:
        waiting: list[pa.Table] = []
        for part in run:
            with folder.open(part.name) as source:
                waiting.append(whole(pq.read_table(source)))
            if (
                sum(rows.num_rows for rows in waiting) > _GROUP_ROWS
                or sum(rows.nbytes for rows in waiting) > _GROUP_BYTES
            ):
                file.write_table(pa.concat_tables(waiting))
                waiting.clear()
        if waiting:
            file.write_table(pa.concat_tables(waiting))
    folder.write(into.name, memoryview(sink.getvalue()))
    for part in run:
        folder.delete(part.name)
