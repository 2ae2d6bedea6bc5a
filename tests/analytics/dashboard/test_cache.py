"""The page's cache reads files of older consumers."""

from pathlib import Path

import pyarrow.parquet as pq

from analytics.dashboard.cache import CallCache
from analytics.folder import LocalFolder
from tests.analytics.dashboard.serving import add
from tests.analytics.kit import call_id, line


def test_columns_that_a_file_lacks_are_unknown(tmp_path: Path) -> None:
    """In a file that an older consumer wrote, newer columns are null; everything else is there."""
    file = add(tmp_path, line(1), first=0)
    pq.write_table(pq.read_table(file, partitioning=None).drop_columns(["attempts", "app_id"]), file)
    cache = CallCache(LocalFolder(tmp_path))
    try:
        cache.refresh()
        assert cache.rows("table", {})[0]["calls"] == 1
        record = cache.record(call_id(1))
        assert record
        assert (record["attempts"], record["region"]) == (None, "Sweden Central")
    finally:
        cache.close()
