"""Held: what the page's numbers are counted from, in memory; it follows the table's files.

Invariants:
- It holds the rows of exactly those files that counted at the last `refresh`, each once: all of the columns in COLUMNS,
  none of what was written or answered. That stays in the files, and `record` reads it of one call.
- `version` is another whenever the rows are.

A view of a million calls then takes a tenth of what the Parquet files themselves would; they are 40 MB here.
"""

import threading
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import duckdb
import pyarrow as pa

from analytics.columns import SCHEMA
from analytics.folder import Folder
from analytics.table import current, parts

COLUMNS: Final = (
    "timestamp",
    "id",
    "model",
    "deployment",
    "region",
    "status",
    "stream",
    "http_status",
    "error_code",
    "finish_reasons",
    "attempts",
    "latency_ms",
    "time_to_first_chunk_ms",
    "time_to_first_token_ms",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "subscription_id",
    "product",
    "user_id",
    "app_id",
)
_SQL: Final = Path(__file__).with_name("sql")
_ATTEMPTS: Final = 5
_MEMORY: Final = "600MB"  # beyond it DuckDB goes on in its temporary directory
_PACK: Final = 50_000  # rows that are worth being compressed

type Row = dict[str, Any]


def sql(name: str) -> str:
    """A statement of ours, by the name of its file."""
    return (_SQL / f"{name}.sql").read_text()


class Held:
    """The calls of a table. May be used by several threads; they wait for each other. Every call blocks."""

    def __init__(self, folder: Folder) -> None:
        self.version = 0
        self._folder = folder
        self._files: dict[str, int] = {}
        """The files whose rows are held, by how DuckDB names them, with their sizes."""
        self._lock = threading.RLock()
        self._spill = TemporaryDirectory(prefix="dashboard-")
        self._duckdb = duckdb.connect(config={"temp_directory": self._spill.name, "memory_limit": _MEMORY})
        self._duckdb.execute("SET GLOBAL TimeZone = 'UTC'")
        if folder.filesystem is not None:
            self._duckdb.register_filesystem(folder.filesystem)
        self._duckdb.register("_columns", SCHEMA.empty_table())
        self._duckdb.execute(sql("schema"))

    def close(self) -> None:
        self._duckdb.close()
        self._spill.cleanup()

    def refresh(self) -> int:
        """Take in what the table has become since, and return the version. Raises duckdb.Error, OSError."""
        with self._lock:
            for attempt in range(_ATTEMPTS):
                found = {f"{self._folder.url}/{part.name}": size for part, size in self._counting().items()}
                if found == self._files:
                    break
                try:
                    self._follow(found)
                    break
                except (duckdb.IOException, FileNotFoundError):  # merged into another since it was listed
                    if attempt + 1 == _ATTEMPTS:
                        raise
            return self.version

    def _counting(self) -> dict[Any, int]:
        sizes = parts(self._folder)
        return {part: sizes[part] for part in current(sizes)}

    def _follow(self, found: Mapping[str, int]) -> None:
        new = [file for file, size in found.items() if self._files.get(file) != size]
        gone = [file for file, size in self._files.items() if found.get(file) != size]
        self._duckdb.begin()
        try:
            if gone:
                self._duckdb.execute(sql("forget"), {"files": gone})
            if new:
                self._duckdb.execute(sql("take"), {"files": new})
        except BaseException:
            self._duckdb.rollback()
            raise
        self._duckdb.commit()
        self._files = dict(found)
        self.version += 1
        if sum(found[file] for file in new) > _PACK:
            self._duckdb.execute("CHECKPOINT held")

    def rows(self, name: str, parameters: Mapping[str, object]) -> list[Row]:
        """What a statement of ours finds. Raises duckdb.Error."""
        with self._lock:
            answer: pa.Table = self._duckdb.sql(sql(name), params=dict(parameters)).to_arrow_table()
            return answer.to_pylist()

    def record(self, id: str) -> Row | None:
        """All columns of one call as its file has them, None if there is no such call. Raises duckdb.Error, OSError."""
        with self._lock:
            for _ in range(_ATTEMPTS):
                self.refresh()
                place = self.rows("file", {"id": id})
                if not place:
                    return None
                try:
                    return self.rows("record", {"files": [place[0]["file"]], "id": id})[0]
                except (duckdb.IOException, FileNotFoundError):
                    continue
        return None
