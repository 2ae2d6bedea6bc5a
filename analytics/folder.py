"""Where a table is stored: a local directory, or a folder in Blob Storage. Files appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, Protocol, cast

import fsspec

_REMOTE: Final = "://"


class Folder(Protocol):
    """A table's files. Names are relative paths with slashes. Every method blocks."""

    url: str
    """The prefix for DuckDB: files are at url/name."""
    filesystem: fsspec.AbstractFileSystem | None
    """The filesystem that DuckDB opens them with; None for local files."""

    def files(self, under: str, suffix: str) -> dict[str, int]:
        """The files whose names start with `under` and end with `suffix`, with their sizes in bytes; may be empty.

        Raises FileNotFoundError if a file vanishes meanwhile: the one it was merged into may not be listed.
        """

    def write(self, name: str, data: memoryview) -> None:
        """Write a file durably, replacing any of that name."""

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading. Raises FileNotFoundError."""

    def delete(self, name: str) -> None:
        """Delete a file if it exists."""


def folder(place: str) -> Folder:
    """The folder at a path or URL, such as abfss://container@account.dfs.core.windows.net/records."""
    return RemoteFolder(place) if _REMOTE in place else LocalFolder(Path(place))


class LocalFolder:
    """A directory, created by the first write."""

    filesystem = None

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.url = str(self.path)

    def files(self, under: str, suffix: str) -> dict[str, int]:
        start = len(self.url) + 1
        found = {}
        for entry in _walk(self.path / under.rpartition("/")[0]):
            name = entry.path[start:]
            if name.startswith(under) and name.endswith(suffix):
                found[name] = entry.stat().st_size
        return found

    def write(self, name: str, data: memoryview) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        for directory in (path.parent, *path.parent.relative_to(self.path).parents):
            _sync(self.path / directory)

    def open(self, name: str) -> BinaryIO:
        return (self.path / name).open("rb")

    def delete(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)


class RemoteFolder:
    """A folder in a filesystem that fsspec supports, in which a PUT is atomic and durable.

    Azure storage authenticates with AZURE_STORAGE_CONNECTION_STRING, or else with what azure-identity finds.
    """

    def __init__(self, url: str) -> None:
        keyed = "AZURE_STORAGE_CONNECTION_STRING" in os.environ
        options = {} if keyed or not url.startswith(("abfs", "az")) else {"anon": False}
        self.filesystem, self._root = fsspec.core.url_to_fs(url.rstrip("/"), **options)
        protocol = url.partition(_REMOTE)[0]
        self.url = f"{protocol}{_REMOTE}{self._root}"

    def files(self, under: str, suffix: str) -> dict[str, int]:
        self.filesystem.invalidate_cache()
        found = self.filesystem.find(f"{self._root}/{under.rpartition('/')[0]}".rstrip("/"), detail=True)
        start = len(self._root) + 1
        sizes = {path[start:]: int(facts["size"]) for path, facts in found.items()}
        return {name: size for name, size in sizes.items() if name.startswith(under) and name.endswith(suffix)}

    def write(self, name: str, data: memoryview) -> None:
        self.filesystem.pipe_file(f"{self._root}/{name}", bytes(data))

    def open(self, name: str) -> BinaryIO:
        return cast(BinaryIO, self.filesystem.open(f"{self._root}/{name}", "rb"))

    def delete(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self.filesystem.rm_file(f"{self._root}/{name}")


def _walk(directory: Path) -> Iterator[os.DirEntry[str]]:
    try:
        entries = list(os.scandir(directory))
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir():
            yield from _walk(Path(entry.path))
        elif not entry.name.startswith("."):
            yield entry


def _sync(directory: Path) -> None:
    """Make a directory's entries durable, which fsync of a file does not."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
