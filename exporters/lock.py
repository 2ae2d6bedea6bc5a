"""DirectoryLock: shows that the owner of a spool directory is alive. The kernel releases it when the owner dies."""

import fcntl
import os
from pathlib import Path


class DirectoryLock:
    """A `flock` on `<name>.lock` beside the directory `<name>`.

    The lock is acquired before the directory is created and released after it is removed, so that nobody ever finds a
    directory in use whose lock is free. It belongs to the open file, not to a process id, so reused ids do no harm.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd

    @classmethod
    def make(cls, path: Path) -> "DirectoryLock":
        """Create a lock file, which nobody can see before it is locked. Raises OSError."""
        unseen = path.with_suffix(".new")
        fd = os.open(unseen, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unseen.rename(path)
        except BaseException:
            os.close(fd)
            unseen.unlink(missing_ok=True)
            raise
        return cls(path, fd)

    @classmethod
    def take(cls, path: Path) -> "DirectoryLock | None":
        """Lock an existing file; None if another process holds it or has just removed it. Raises OSError."""
        try:
            fd = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # its last owner may have removed the file between our open and our lock: then this lock guards nothing
            if os.fstat(fd).st_nlink:
                return cls(path, fd)
        except BlockingIOError:
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return None

    @property
    def is_in_place(self) -> bool:
        """Whether others can find the file: a cleanup of temp directories may have removed it."""
        try:
            return os.fstat(self._fd).st_nlink > 0
        except OSError:  # ESTALE: removed by another host of a mounted share
            return False

    @property
    def directory(self) -> Path:
        """The directory this lock guards."""
        return self.path.with_suffix("")

    def remove(self) -> None:
        """Remove the lock file and release the lock; the directory must be gone or about to be adopted."""
        self.path.unlink(missing_ok=True)
        os.close(self._fd)

    def release(self) -> None:
        """Release the lock but leave its file, so that what is left in the directory is adopted."""
        os.close(self._fd)
