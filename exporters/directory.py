"""OwnDirectory: this process's directory in the spool's root, created when first needed, and again when it is gone.

The root may be renamed, removed or mounted over while the process runs. Then others would not find what the directory
holds if this process died. So `path` compares path and descriptor, makes another directory where they differ, and keeps
the old one open until `exporters.moving` has emptied it.
"""

import contextlib
import errno
import logging
import os
import threading
import uuid
from pathlib import Path

from exporters.lock import DirectoryLock, OpenDirectory

log = logging.getLogger(__name__)


class OwnDirectory:
    """Shared by the spool and the journal; may be used from any thread."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._guard = threading.Lock()
        self._lock: DirectoryLock | None = None
        self._opened: OpenDirectory | None = None
        self._left: list[tuple[OpenDirectory, DirectoryLock]] = []

    @property
    def exists(self) -> bool:
        """Whether it was created."""
        return self._opened is not None or bool(self._left)

    def path(self) -> Path:
        """The directory, which exists at that path and is locked; raises OSError."""
        with self._guard:
            if self._opened is None or self._lock is None:
                self._make()
            elif not self._opened.is_in_place:
                log.warning("the spool's directory is no longer at its path: what it holds is moved to a new one there")
                self._left.append((self._opened, self._lock))
                self._lock = self._opened = None
                self._make()
            elif not self._lock.is_in_place:
                self._lock.release()
                self._lock = DirectoryLock.make(self._lock.path)
            assert self._opened
            return self._opened.path

    def left(self) -> list[OpenDirectory]:
        """Former directories that are no longer at their paths, and may still hold files."""
        with self._guard:
            return [opened for opened, _ in self._left]

    def forget(self, directory: OpenDirectory) -> None:
        """Give up a former directory; it is removed if it is empty."""
        with self._guard:
            (lock,) = [lock for opened, lock in self._left if opened is directory]
            self._left.remove((directory, lock))
        directory.remove()
        directory.close()
        if lock.is_in_place:  # only the directory was moved
            lock.remove()
        else:
            lock.release()

    def owns(self, lock_path: Path) -> bool:
        """Whether that lock file is ours."""
        return self._lock is not None and self._lock.path == lock_path

    def release(self) -> None:
        """Release the lock; the directory is removed if empty, else left for adoption."""
        for directory in self.left():
            self.forget(directory)
        with self._guard:
            lock, self._lock, opened, self._opened = self._lock, None, self._opened, None
        if opened is not None:
            with contextlib.suppress(OSError):
                if opened.is_in_place:
                    opened.remove()
            opened.close()
        if lock is not None:
            lock.release()

    def _make(self) -> None:
        make_private(self.root)
        self._lock = DirectoryLock.make(self.root / f"{os.getpid()}-{uuid.uuid4().hex}.lock")
        try:
            self._opened = OpenDirectory(self._lock.directory)
        except BaseException:
            lock, self._lock = self._lock, None
            lock.remove()
            raise


def make_private(directory: Path) -> None:
    """Create a directory with mode 0700; raises PermissionError if another user owns it."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.stat()
    if found.st_uid != os.geteuid():
        raise PermissionError(errno.EACCES, "the spool's directory belongs to another user")
    if found.st_mode & 0o077:
        directory.chmod(0o700)
