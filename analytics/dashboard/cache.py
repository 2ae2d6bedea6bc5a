"""CallCache: the columns that the page aggregates, in memory, kept in step with the table's files.

Invariants:
- It holds the rows of exactly the files that counted at the last `refresh`, each once: numbers and names, but neither
  prompts nor completions. Those stay in the files; `record` reads one call's.
- `version` changes whenever the rows do.

A million calls take 40 MB, and a view of them a tenth of the time that the files would need.
"""

import threading
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import duckdb

from analytics.columns import SCHEMA
from analytics.folder import Folder
from analytics.table import current, parts, while_files_move

_SQL: Final = Path(__file__).with_name("sql")
_MEMORY: Final = "600MB"  # above this DuckDB spills to its temporary directory
_RESULTS: Final = 64
_PACK: Final = 10 << 20  # bytes of new files above which compressing their rows pays

type Row = dict[str, Any]


def sql(name: str) -> str:
    """The statement in sql/NAME.sql."""
    return (_SQL / f"{name}.sql").read_text()


class CallCache:
    """The calls of a table. Thread-safe; every method blocks, and a lock serialises them."""

    lock: threading.RLock
    """While it is held, the rows do not change between queries."""

    def __init__(self, folder: Folder) -> None:
        self.version = 0
        self._folder = folder
        self._files: dict[str, int] = {}
        """The files whose rows are cached, by DuckDB's name for them, with their sizes."""
        self._results: dict[object, list[Row]] = {}
        """Results for this version: after a change of one filter, most queries repeat."""
        self.lock = threading.RLock()
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
        """Load the table's changes, and return the version. Raises duckdb.Error, OSError."""
        with self.lock:
            while_files_move(self._load_changes)
            return self.version

    def _load_changes(self) -> None:
        sizes = parts(self._folder)
        found = {f"{self._folder.url}/{part.name}": sizes[part] for part in current(sizes)}
        if found == self._files:
            return
        new = [file for file, size in found.items() if self._files.get(file) != size]
        gone = [file for file, size in self._files.items() if found.get(file) != size]
        self._duckdb.begin()
        try:
            if gone:
                self._duckdb.execute(sql("forget"), {"files": gone})
            if new:
                self._duckdb.execute(sql("take"), {"files": new})
            self._duckdb.execute(sql("count"))
        except BaseException:
            self._duckdb.rollback()
            raise
        self._duckdb.commit()
        self._files = dict(found)
        self.version += 1
        self._results.clear()
        if sum(found[file] for file in new) > _PACK:
            self._duckdb.execute("CHECKPOINT cache")

    def rows(self, name: str, parameters: Mapping[str, object]) -> list[Row]:
        """The rows of the statement in sql/NAME.sql; do not modify them. Raises duckdb.Error."""
        key = (name, *parameters.items())
        with self.lock:
            if key not in self._results:
                if len(self._results) == _RESULTS:
                    del self._results[next(iter(self._results))]
                self._results[key] = self._query(name, parameters)
            return self._results[key]

    def _query(self, name: str, parameters: Mapping[str, object]) -> list[Row]:
        found: list[Row] = self._duckdb.sql(sql(name), params=dict(parameters)).to_arrow_table().to_pylist()
        return found

    def record(self, id: str) -> Row | None:
        """All columns of one call, from its file; None if there is no such call. Raises duckdb.Error, OSError."""
        with self.lock:
            return while_files_move(lambda: self._record(id))

    def _record(self, id: str) -> Row | None:
        self.refresh()
        place = self._query("file", {"id": id})
        found = self._query("record", {"files": [place[0]["file"]], "id": id}) if place else []
        return found[0] if found else None
