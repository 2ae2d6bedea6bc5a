"""A consumer merges files while others read: a reader that has listed the small ones still finds their rows."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import duckdb
import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from analytics.dashboard.cache import CallCache
from analytics.folder import Folder, _walk, folder
from analytics.table import Part, connect, query
from tests.analytics.kit import HOUR, call_id, line, parquet


class Moving:
    """A folder that merges all calls into a new file right after each listing numbered in `after`."""

    def __init__(self, real: Folder, *after: int) -> None:
        self._real = real
        self._after = after
        self._listings = 0
        self._last = 1
        self.url, self.filesystem = real.url, real.filesystem
        self.write(self._name(), parquet(line(1), line(2)))

    def files(self, under: str, suffix: str) -> dict[str, int]:
        found = self._real.files(under, suffix)
        self._listings += 1
        if self._listings in self._after:
            small, self._last = self._name(), self._last + 1
            with self.open(small) as rows:
                self.write(self._name(), memoryview(rows.read()))
            self.delete(small)
        return found

    def write(self, name: str, data: memoryview) -> None:
        self._real.write(name, data)

    def open(self, name: str) -> BinaryIO:
        return self._real.open(name)

    def delete(self, name: str) -> None:
        self._real.delete(name)

    def _name(self) -> str:
        return Part(HOUR, "ab", "0", 0, self._last).name


class CachingFileSystem(MemoryFileSystem):  # type: ignore[misc]
    """A filesystem that caches its listings, as Azure's does: it reports a deleted file as present."""

    protocol = "caching"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(MemoryFileSystem._strip_protocol(path.replace("caching://", "memory://")))

    def glob(self, path: str, **_: object) -> list[str]:
        return [path]


fsspec.register_implementation("caching", CachingFileSystem, clobber=True)


@pytest.fixture(params=["directory", "memory", "caching"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """A folder whose files DuckDB reads itself, or through fsspec."""
    return folder(str(tmp_path) if request.param == "directory" else f"{request.param}://{uuid.uuid4().hex}/records")


@pytest.mark.parametrize("after", [1, 2])
def test_a_query_survives_a_merge(place: Folder, after: int) -> None:
    """Whether files are merged while it connects or while it runs."""
    moving = Moving(place, after)
    with connect(moving) as connection:
        assert query(connection, moving, 'SELECT count(*) AS calls FROM "Calls"').to_pylist() == [{"calls": 2}]


@pytest.mark.parametrize("after", [1, 2])
def test_the_page_survives_a_merge(place: Folder, after: int) -> None:
    """Whether files are merged while calls are loaded, or while one record is read."""
    cache = CallCache(Moving(place, after))
    try:
        assert cache.refresh() == 1
        record = cache.record(call_id(2))
        assert record
        assert record["content"] == "answer 2"
    finally:
        cache.close()


def test_a_file_that_vanishes_during_the_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file it was merged into may be missing from the listing, which is repeated rather than lose its rows."""
    place = folder(str(tmp_path))
    name = Part(HOUR, "ab", "0", 0, 1).name
    place.write(name, parquet(line(1), line(2)))
    real = _walk
    listed: list[Path] = []

    def walk(directory: Path) -> Iterator[os.DirEntry[str]]:
        entries = list(real(directory))
        if not listed:
            (tmp_path / name).rename(tmp_path / Part(HOUR, "ab", "0", 0, 2).name)
        listed.append(directory)
        yield from entries

    monkeypatch.setattr("analytics.folder._walk", walk)
    with connect(place) as connection:
        assert connection.sql("SELECT id FROM Calls").fetchall() == [(call_id(1),), (call_id(2),)]
    assert len(listed) > 1


def test_retries_are_limited(place: Folder) -> None:
    """If something else is wrong with the files, the error is raised after a few attempts."""
    moving = Moving(place, *range(100))
    with pytest.raises(duckdb.Error, match="parquet"):
        connect(moving)


def test_an_invalid_query_is_not_retried(place: Folder) -> None:
    """Only errors that come from files are."""
    moving = Moving(place)
    with connect(moving) as connection:
        before = moving._listings
        with pytest.raises(duckdb.BinderException):
            query(connection, moving, 'SELECT nothing FROM "Calls"')
    assert moving._listings == before + 1
