"""OwnDirectory: this process's directory in the spool's root, created when first needed."""

import errno
import os
import threading
import uuid
from pathlib import Path

from exporters.lock import DirectoryLock


class OwnDirectory:
    """Shared by the spool and the journal; may be used from any thread."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._guard = threading.Lock()
        self._lock: DirectoryLock | None = None

    def path(self) -> Path:
        """The directory, which exists and is locked; raises OSError."""
        with self._guard:
            lock = self._lock
            if lock is None or not lock.is_in_place:
                make_private(self.root)
                # the same name again, so that what the directory still holds is found if this process dies
                path = lock.path if lock else self.root / f"{os.getpid()}-{uuid.uuid4().hex}.lock"
                previous, lock = lock, DirectoryLock.make(path)
                self._lock = lock
                if previous:
                    previous.release()
            lock.directory.mkdir(mode=0o700, exist_ok=True)
            return lock.directory

    def owns(self, lock_path: Path) -> bool:
        """Whether that lock file is ours."""
        return self._lock is not None and self._lock.path == lock_path

    def release(self) -> None:
        """Release the lock; the directory is removed if empty, else left for adoption."""
        with self._guard:
            lock, self._lock = self._lock, None
        if lock is None:
            return
        try:
            lock.directory.rmdir()
        except OSError:
            lock.release()
        else:
            lock.remove()


def make_private(directory: Path) -> None:
    """Create a directory with mode 0700; raises PermissionError if another user owns it."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.stat()
    if found.st_uid != os.geteuid():
        raise PermissionError(errno.EACCES, "the spool's directory belongs to another user")
    if found.st_mode & 0o077:
        directory.chmod(0o700)
