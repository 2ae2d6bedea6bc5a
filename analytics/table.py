"""The table: Parquet files by day and hour, whose names say which events of the hub they hold.

    DIR/day=2024-11-13/hour=06/3f2a91c0-2-000000000001200-000000000001263.parquet
                               hub and group, partition, first and last sequence number

Invariants:
- A record lies in the hour in which its call began (its end, where the beginning is unknown): all records of one id,
  repeats and an interrupted one beside a finished one, lie in the same hour, and are found there.
- Of one partition's files in one hour, the ranges of sequence numbers are apart or within each other. One within
  another is what was merged into it and does not count: `current` leaves it out.
- What begins with `_` beside the days is the consumers' own, and no data.
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
from analytics.folder import Folder

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_NAME: Final = re.compile(r"(day=[\d-]+/hour=\d\d)/([0-9a-f]+)-(\w+)-(\d+)-(\d+)\.parquet")
_ATTEMPTS: Final = 5
NAME: Final = "Calls"
"""What queries call it."""


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """One file of the table, told by its name."""

    hour: str
    """day=…/hour=…"""
    stream: str
    """Tells the hub and consumer group."""
    partition: str
    first: int
    last: int

    @property
    def name(self) -> str:
        return f"{self.hour}/{self.stream}-{self.partition}-{self.first:015}-{self.last:015}.parquet"

    @classmethod
    def of(cls, name: str) -> "Part | None":
        """The part of that name, None if it is no part's."""
        found = _NAME.fullmatch(name)
        return cls(found[1], found[2], found[3], int(found[4]), int(found[5])) if found else None

    def covers(self, other: "Part") -> bool:
        return self.first <= other.first and other.last <= self.last


def parts(folder: Folder, hour: str = "day=") -> dict[Part, int]:
    """All parts of a table, or of one of its hours, with their sizes in bytes: merged ones as well."""
    found = ((Part.of(name), size) for name, size in folder.files(hour, ".parquet").items())
    return {part: size for part, size in found if part is not None}


def current(found: Iterable[Part]) -> list[Part]:
    """The parts that count: without those that another covers."""
    counting: list[Part] = []
    for part in sorted(found, key=lambda part: (part.hour, part.stream, part.partition, part.first, -part.last)):
        last = counting[-1] if counting else None
        same = last and (last.hour, last.stream, last.partition) == (part.hour, part.stream, part.partition)
        if not (last and same and last.covers(part)):
            counting.append(part)
    return counting


def by_hour(rows: pa.Table) -> dict[str, pa.Table]:
    """Rows by the hour to whose folder they belong, each in their order."""
    began = pc.coalesce(rows["started_at"], rows["timestamp"])
    hours = pc.floor_temporal(began, unit="hour").combine_chunks()
    runs = pc.run_end_encode(hours)
    values = runs.values.to_pylist()
    if len(set(values)) == len(values):  # as calls mostly come: hour after hour, so nothing needs to be copied
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
    """Rows as a Parquet file."""
    sink = pa.BufferOutputStream()
    with writer(sink) as file:
        file.write_table(rows)
    return memoryview(sink.getvalue())


def writer(sink: pa.NativeFile) -> pq.ParquetWriter:
    # ids are all different: a dictionary of them would be built for nothing
    repeating = [field.name for field in SCHEMA if field.name not in _UNIQUE]
    return pq.ParquetWriter(sink, SCHEMA, compression="zstd", use_dictionary=repeating)


_UNIQUE: Final = {"id", "trace_id", "span_id", "response_id", "apim_request_id", "prompt", "content", "choices"}


def connect(folder: Folder) -> "DuckDBPyConnection":
    """A connection to DuckDB in which the table as it is now is the view `Calls`.

    Its moments are TIMESTAMP in UTC, without a zone, as KQL takes them. The list of files is taken once: `use` and
    `query` take it anew.
    """
    import duckdb  # whoever writes the table does without

    connection = duckdb.connect()
    connection.execute("SET GLOBAL TimeZone = 'UTC'")  # of cursors too; or a cast would follow the machine's zone
    connection.execute("SET GLOBAL parquet_metadata_cache = true")
    if folder.filesystem is not None:
        connection.register_filesystem(folder.filesystem)
    use(connection, folder)
    return connection


def query(
    connection: "DuckDBPyConnection", folder: Folder, sql: str, parameters: Mapping[str, object] | None = None
) -> pa.Table:
    """The answer to a query over the files that are there now.

    A file that a consumer has merged into another since is looked for there: the list is taken anew.
    """

    def ask() -> pa.Table:
        _view(connection, folder)
        return _whole_numbers(connection.sql(sql, params=dict(parameters or {})).to_arrow_table())

    return while_files_move(ask)


def _whole_numbers(answer: pa.Table) -> pa.Table:
    """DuckDB's sums of whole numbers are of 128 bits, which Arrow has as decimals only."""
    for index, field in enumerate(answer.schema):
        if pa.types.is_decimal(field.type) and field.type.scale == 0:
            answer = answer.set_column(index, field.name, answer[index].cast(pa.int64()))
    return answer


def use(connection: "DuckDBPyConnection", folder: Folder) -> None:
    """Make the view `Calls` anew, over the files that are there now."""
    while_files_move(lambda: _view(connection, folder))


def while_files_move[T](work: Callable[[], T]) -> T:
    """The result of work that lists files and reads them: done again if one was merged into another in between."""
    import duckdb

    for _ in range(_ATTEMPTS - 1):
        try:
            return work()
        except (duckdb.IOException, duckdb.HTTPException, FileNotFoundError):
            pass
        except duckdb.Error as fault:
            if type(fault) is not duckdb.Error:  # but that is what it makes of an exception of fsspec's
                raise
    return work()


def _view(connection: "DuckDBPyConnection", folder: Folder) -> None:
    files = [f"{folder.url}/{part.name}" for part in current(parts(folder))]
    # the empty one gives every column, also one that no file has yet
    sources = ["SELECT * FROM _columns"]
    if files:
        quoted = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
        sources.append(
            f"SELECT * FROM read_parquet([{quoted}], union_by_name = true, hive_partitioning = false)"  # noqa: S608
        )
    connection.register("_columns", SCHEMA.empty_table())
    moments = ", ".join(f"CAST({name} AS TIMESTAMP) AS {name}" for name in ("timestamp", "started_at"))
    everything = " UNION ALL BY NAME ".join(sources)
    connection.execute(f'CREATE OR REPLACE VIEW "{NAME}" AS SELECT * REPLACE ({moments}) FROM ({everything})')  # noqa: S608
