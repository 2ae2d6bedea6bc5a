"""Held: what the page's numbers are counted from, in memory; it follows the table's files.

Invariants:
- It holds the rows of exactly those files that counted at the last `refresh`, each once: numbers and names, nothing
  of what was written or answered. That stays in the files, and `record` reads it of one call.
- `version` is another whenever the rows are.

A million calls are 40 MB here, and a view of them takes a tenth of what it would over the files themselves.
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
_MEMORY: Final = "600MB"  # beyond it DuckDB goes on in its temporary directory
_REMEMBERED: Final = 64
_PACK: Final = 10 << 20  # bytes of new files whose rows are worth being compressed

type Row = dict[str, Any]


def sql(name: str) -> str:
    """A statement of ours, by the name of its file."""
    return (_SQL / f"{name}.sql").read_text()


class Held:
    """The calls of a table. May be used by several threads; they wait for each other. Every call blocks."""

    lock: threading.RLock
    """Whoever holds it sees no change between one question and the next."""

    def __init__(self, folder: Folder) -> None:
        self.version = 0
        self._folder = folder
        self._files: dict[str, int] = {}
        """The files whose rows are held, by how DuckDB names them, with their sizes."""
        self._remembered: dict[object, list[Row]] = {}
        """What was found in this version: who changes one filter asks for most of it again."""
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
        """Take in what the table has become since, and return the version. Raises duckdb.Error, OSError."""
        with self.lock:
            while_files_move(self._follow)
            return self.version

    def _follow(self) -> None:
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
        except BaseException:
            self._duckdb.rollback()
            raise
        self._duckdb.commit()
        self._files = dict(found)
        self.version += 1
        self._remembered.clear()
        if sum(found[file] for file in new) > _PACK:
            self._duckdb.execute("CHECKPOINT held")

    def rows(self, name: str, parameters: Mapping[str, object]) -> list[Row]:
        """What a statement of ours finds in the calls; not to be changed. Raises duckdb.Error."""
        key = (name, *parameters.items())
        with self.lock:
            if key not in self._remembered:
                if len(self._remembered) == _REMEMBERED:
                    del self._remembered[next(iter(self._remembered))]
                self._remembered[key] = self._ask(name, parameters)
            return self._remembered[key]

    def _ask(self, name: str, parameters: Mapping[str, object]) -> list[Row]:
        found: list[Row] = self._duckdb.sql(sql(name), params=dict(parameters)).to_arrow_table().to_pylist()
        return found

    def record(self, id: str) -> Row | None:
        """All columns of one call as its file has them, None if there is no such call. Raises duckdb.Error, OSError."""
        with self.lock:
            return while_files_move(lambda: self._record(id))

    def _record(self, id: str) -> Row | None:
        self.refresh()
        place = self._ask("file", {"id": id})
        found = self._ask("record", {"files": [place[0]["file"]], "id": id}) if place else []
        return found[0] if found else None
