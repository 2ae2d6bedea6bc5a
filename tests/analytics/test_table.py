"""The table's files: which hour a row belongs to, which files count, and what DuckDB sees of them."""

from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq

from analytics.columns import SCHEMA
from analytics.folder import LocalFolder
from analytics.rows import parse, table_of
from analytics.table import Part, by_hour, connect, current, parts
from tests.analytics.kit import HOUR, START, line, parquet, record, rows


def write(folder: LocalFolder, part: Part, *numbers: int) -> None:
    folder.write(part.name, parquet(*map(line, numbers)))


def test_an_empty_table_has_its_columns(tmp_path: Path) -> None:
    """Before the first record, even before the folder exists, a query finds the table, without rows."""
    with connect(LocalFolder(tmp_path / "none")) as calls:
        found = calls.sql('SELECT * FROM "Calls"').to_arrow_table()
    assert (found.schema.names, found.num_rows) == (SCHEMA.names, 0)


def test_rows_are_read_as_written(tmp_path: Path) -> None:
    """Rows come back unchanged, with their types; a quote in the folder's name does no harm."""
    folder = LocalFolder(tmp_path / "it's here")
    write(folder, Part(HOUR, "ab", "0", 0, 1), 1, 2)
    expected = table_of([parse(line(1)), parse(line(2))]).to_pylist()
    for row in expected:
        row |= {name: row[name].replace(tzinfo=None) for name in ("timestamp", "started_at")}
    assert rows(folder.path) == expected


def test_files_without_newer_columns_are_read(tmp_path: Path) -> None:
    """A column that a file lacks is null there, alone or next to files that have it."""
    folder = LocalFolder(tmp_path)
    part = Part(HOUR, "ab", "0", 0, 0)
    (tmp_path / HOUR).mkdir(parents=True)
    pq.write_table(table_of([parse(line(1))]).drop_columns(["service_tier", "attempts"]), tmp_path / part.name)
    assert rows(tmp_path, "attempts") == [{"attempts": None}]
    write(folder, Part(HOUR, "ab", "0", 1, 1), 2)
    assert rows(tmp_path, "service_tier") == [{"service_tier": None}, {"service_tier": ""}]


def test_all_records_of_one_call_belong_to_one_hour() -> None:
    """The hour of the call's start: an interrupted record, dated a day later, is with the finished one."""
    late = record(1, START + timedelta(days=1), started_at=record(1)["started_at"], status="interrupted")
    old = record(2, started_at=None)
    table = table_of([record(1), late, old, record(3, START + timedelta(hours=1))])
    found = {hour: part["id"].to_pylist() for hour, part in by_hour(table).items()}
    numbers = {hour: [int(id, 16) for id in ids] for hour, ids in found.items()}
    assert numbers == {HOUR: [1, 1, 2], "day=2024-11-13/hour=07": [3]}


def test_files_covered_by_a_merged_one_do_not_count(tmp_path: Path) -> None:
    """While the source files of a merge still exist, their rows count once."""
    folder = LocalFolder(tmp_path)
    for first, last in ((0, 1), (2, 3), (0, 3), (4, 4)):
        write(folder, Part(HOUR, "ab", "0", first, last), *range(first, last + 1))
    write(folder, Part(HOUR, "ab", "1", 0, 1), 5, 6)  # another partition's
    write(folder, Part(HOUR, "cd", "0", 2, 3), 7, 8)  # another hub's
    assert len(parts(folder)) == 6
    assert [int(row["id"], 16) for row in rows(tmp_path)] == list(range(9))
    assert [(part.stream, part.partition, part.first) for part in current(parts(folder))] == [
        ("ab", "0", 0),
        ("ab", "0", 4),
        ("ab", "1", 0),
        ("cd", "0", 2),
    ]


def test_only_complete_files_count(tmp_path: Path) -> None:
    """A killed writer's partial file, and unrelated files, are not part of the table."""
    folder = LocalFolder(tmp_path)
    part = Part(HOUR, "ab", "0", 0, 0)
    write(folder, part, 1)
    (tmp_path / HOUR / f".{Path(part.name).name}.123").write_bytes(b"PAR1")
    folder.write("_set_aside/ab-0-000000000000000-000000000000000.jsonl", memoryview(b"{}"))
    folder.write(f"{HOUR}/notes.parquet", memoryview(b"hello"))
    assert list(parts(folder)) == [part]
    assert len(rows(tmp_path)) == 1
