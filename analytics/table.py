"""The table: Parquet files by day and hour, named after the events of the hub that they hold.

    DIR/day=2024-11-13/hour=06/3f2a91c0-2-000000000001200-000000000001263.parquet
                               hub and group, partition, first and last sequence number

Invariants:
- A record is in the hour in which its call began (or ended, if its start is unknown). So all records of one id, whether
  repeats or an interrupted and a finished one, are in the same hour.
- The ranges of sequence numbers of a partition's files in an hour are disjoint or nested. A file nested in another was
  merged into it and does not count: `current` leaves it out.
- Names next to the days that start with `_` belong to the consumers and are not data.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analytics.columns import SCHEMA
from analytics.counted import counted
from analytics.folder import Folder

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_NAME: Final = re.compile(r"(day=[\d-]+/hour=\d\d)/([0-9a-f]+)-(\w+)-(\d+)-(\d+)\.parquet")
_ATTEMPTS: Final = 5
NAME: Final = "Calls"
"""The table's name in queries."""
ROWS: Final = "CallRows"
"""The same rows, with a response's usage in each that reports it."""


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """One file of the table, as its name describes it."""

    hour: str
    """day=…/hour=…"""
    stream: str
    """Identifies the hub and consumer group."""
    partition: str
    first: int
    last: int

    @property
    def name(self) -> str:
        return f"{self.hour}/{self.stream}-{self.partition}-{self.first:015}-{self.last:015}.parquet"

    @classmethod
    def of(cls, name: str) -> "Part | None":
        """The part with this file name, None if it is not a part's name."""
        found = _NAME.fullmatch(name)
        return cls(found[1], found[2], found[3], int(found[4]), int(found[5])) if found else None

    def covers(self, other: "Part") -> bool:
        return self.first <= other.first and other.last <= self.last


def parts(folder: Folder, hour: str = "day=") -> dict[Part, int]:
    """All parts of a table, or of one hour, with their sizes in bytes; includes those merged into others."""
    found = ((Part.of(name), size) for name, size in folder.files(hour, ".parquet").items())
    return {part: size for part, size in found if part is not None}


def current(found: Iterable[Part]) -> list[Part]:
    """The parts that count: those that no other part covers."""
    counting: list[Part] = []
    for part in sorted(found, key=lambda part: (part.hour, part.stream, part.partition, part.first, -part.last)):
        last = counting[-1] if counting else None
        same = last and (last.hour, last.stream, last.partition) == (part.hour, part.stream, part.partition)
        if not (last and same and last.covers(part)):
            counting.append(part)
    return counting


def by_hour(rows: pa.Table) -> dict[str, pa.Table]:
    """Rows by the hour they belong to, in order."""
    began = pc.coalesce(rows["started_at"], rows["timestamp"])
    hours = pc.floor_temporal(began, unit="hour").combine_chunks()
    runs = pc.run_end_encode(hours)
    values = runs.values.to_pylist()
    if len(set(values)) == len(values):  # the common case: rows arrive hour by hour, so slices suffice
        ends = runs.run_ends.to_pylist()
        return {
            _named(hour): rows.slice(start, end - start)
            for hour, start, end in zip(values, [0, *ends], ends, strict=False)
        }
    return {_named(hour): rows.filter(pc.equal(hours, hour)) for hour in hours.unique()}


def _named(hour: pa.Scalar | datetime) -> str:
    moment = hour if isinstance(hour, datetime) else hour.as_py()
    return f"{moment:day=%Y-%m-%d/hour=%H}"


def encoded(rows: pa.Table) -> memoryview:
    """The bytes of a Parquet file with these rows."""
    sink = pa.BufferOutputStream()
    with writer(sink) as file:
        file.write_table(rows)
    return memoryview(sink.getvalue())


def writer(sink: pa.NativeFile) -> pq.ParquetWriter:
    # unique values gain nothing from a dictionary
    repeating = [field.name for field in SCHEMA if field.name not in _UNIQUE]
    return pq.ParquetWriter(sink, SCHEMA, compression="zstd", use_dictionary=repeating)


_UNIQUE: Final = {"id", "trace_id", "span_id", "response_id", "apim_request_id", "prompt", "content", "choices"}


def connect(folder: Folder) -> "DuckDBPyConnection":
    """A DuckDB connection whose view `Calls` is the table's current content.

    Its times are TIMESTAMP in UTC, without a zone, as KQL expects. The list of files is read once; `use` and `query`
    read it again.
    """
    import duckdb  # not needed to write the table

    connection = duckdb.connect()
    connection.execute(
        "SET GLOBAL TimeZone = 'UTC'"
    )  # GLOBAL covers cursors too; otherwise casts use the machine's zone
    connection.execute("SET GLOBAL parquet_metadata_cache = true")
    if folder.filesystem is not None:
        connection.register_filesystem(folder.filesystem)
    use(connection, folder)
    return connection


def query(
    connection: "DuckDBPyConnection", folder: Folder, sql: str, parameters: Mapping[str, object] | None = None
) -> pa.Table:
    """Run a query over the current files.

    If a consumer merges a file into another meanwhile, the list of files is read again.
    """

    def run() -> pa.Table:
        _view(connection, folder)
        return _whole_numbers(connection.sql(sql, params=dict(parameters or {})).to_arrow_table())

    return while_files_move(run)


def _whole_numbers(answer: pa.Table) -> pa.Table:
    """Convert DuckDB's 128-bit sums of integers, which Arrow represents as decimals, to int64."""
    for index, field in enumerate(answer.schema):
        if pa.types.is_decimal(field.type) and field.type.scale == 0:
            answer = answer.set_column(index, field.name, answer[index].cast(pa.int64()))
    return answer


def use(connection: "DuckDBPyConnection", folder: Folder) -> None:
    """Recreate the view `Calls` over the current files."""
    while_files_move(lambda: _view(connection, folder))


def while_files_move[T](work: Callable[[], T]) -> T:
    """The result of `work`, which lists files and reads them; retries if one was merged into another in between."""
    import duckdb

    for _ in range(_ATTEMPTS - 1):
        try:
            return work()
        except (duckdb.IOException, duckdb.HTTPException, FileNotFoundError):
            pass
        except duckdb.Error as fault:
            if type(fault) is not duckdb.Error:  # the base class wraps an exception of fsspec
                raise
    return work()


def _view(connection: "DuckDBPyConnection", folder: Folder) -> None:
    files = [f"{folder.url}/{part.name}" for part in current(parts(folder))]
    # the empty table provides every column, including those no file has yet
    sources = ["SELECT * FROM _columns"]
    if files:
        quoted = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
        sources.append(
            f"SELECT * FROM read_parquet([{quoted}], union_by_name = true, hive_partitioning = false)"  # noqa: S608
        )
    connection.register("_columns", SCHEMA.empty_table())
    moments = ", ".join(f"CAST({name} AS TIMESTAMP) AS {name}" for name in ("timestamp", "started_at"))
    everything = " UNION ALL BY NAME ".join(sources)
    rows = f"SELECT * REPLACE ({moments}) FROM ({everything})"  # noqa: S608
    connection.execute(f'CREATE OR REPLACE VIEW "{ROWS}" AS {rows}')
    connection.execute(f'CREATE OR REPLACE VIEW "{NAME}" AS {counted(ROWS)}')
