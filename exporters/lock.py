"""DirectoryLock: shows that the owner of a spool directory is alive. The kernel releases it when the owner dies."""

import contextlib
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
        """Whether others can find the file: a cleanup of temp directories, a rename or a mount may have hidden it."""
        return is_at(self._fd, self.path)

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


class OpenDirectory:
    """A directory of the spool, held open by the process it belongs to: its files can be reached wherever it lies.

    It is locked too where the file system allows (NFS does not): so a directory whose lock file was removed can be told
    from one that a dead process left.
    """

    def __init__(self, path: Path) -> None:
        """Create it if it does not exist. Raises OSError."""
        path.mkdir(mode=0o700, exist_ok=True)
        self.path = path
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        with contextlib.suppress(OSError):
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    @property
    def is_in_place(self) -> bool:
        """Whether its path still leads to it."""
        return is_at(self.fd, self.path)

    def remove(self) -> None:
        """Remove it with its lock file, wherever they are, if it is empty; else leave both."""
        with contextlib.suppress(OSError):
            # by way of its parent, whose path may lead elsewhere by now; nothing else has these names
            os.rmdir(f"../{self.path.name}", dir_fd=self.fd)
            os.unlink(f"../{self.path.name}.lock", dir_fd=self.fd)

    def close(self) -> None:
        os.close(self.fd)


def is_at(fd: int, path: Path) -> bool:
    """Whether the path leads to the open file."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except OSError:  # it is missing, or ESTALE: removed by another host of a mounted share
        return False
