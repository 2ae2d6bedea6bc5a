"""What the page counts from follows a table at a URL as it does one in a directory."""

import uuid

import pyarrow as pa

from analytics.dashboard.cache import CallCache
from analytics.folder import folder
from analytics.rows import parse, table_of
from analytics.table import Part, encoded
from tests.analytics.kit import call_id, line

HOUR = "day=2024-11-13/hour=06"


def rows(*numbers: int) -> pa.Table:
    return table_of([parse(line(number)) for number in numbers])


def test_a_table_at_a_url() -> None:
    """Files that come, are merged and go, in a filesystem that only fsspec knows; records are read from there."""
    table = folder(f"memory://{uuid.uuid4().hex}/records")
    small, merged = Part(HOUR, "ab", "0", 0, 1).name, Part(HOUR, "ab", "0", 0, 2).name
    cache = CallCache(table)
    try:
        assert cache.refresh() == 0
        table.write(small, encoded(rows(1, 2)))
        assert cache.refresh() == 1
        assert cache.rows("table", {})[0]["calls"] == 2
        table.write(merged, encoded(rows(1, 2, 3)))
        table.delete(small)
        assert cache.refresh() == 2
        assert cache.rows("table", {})[0]["calls"] == 3
        record = cache.record(call_id(3))
        assert record
        assert record["content"] == "answer 3"
        table.delete(merged)
        assert cache.record(call_id(3)) is None
    finally:
        cache.close()


def test_a_file_without_a_column_of_today() -> None:
    """Of a table that an older consumer wrote, what it did not know is unknown, and all else is there."""
    table = folder(f"memory://{uuid.uuid4().hex}/records")
    sink = pa.BufferOutputStream()
    with pa.parquet.ParquetWriter(sink, rows(1).drop_columns(["attempts", "app_id"]).schema) as file:
        file.write_table(rows(1).drop_columns(["attempts", "app_id"]))
    table.write(Part(HOUR, "ab", "0", 0, 0).name, memoryview(sink.getvalue()))
    cache = CallCache(table)
    try:
        cache.refresh()
        assert cache.rows("table", {})[0]["calls"] == 1
        record = cache.record(call_id(1))
        assert record
        assert (record["attempts"], record["region"]) == (None, "Sweden Central")
    finally:
        cache.close()
