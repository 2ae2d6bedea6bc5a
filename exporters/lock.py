"""DirectoryLock: says that the process which owns a spool directory lives. The kernel drops it when that dies."""

import fcntl
import os
from pathlib import Path


class DirectoryLock:
    """A `flock` on `<name>.lock` beside the directory `<name>`.

    The lock is taken before the directory is made and given back after it is removed, so that no one ever finds a
    directory in use whose lock is free. It belongs to the open file, not to a process id: an id that is used again
    means nothing here.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd

    @classmethod
    def take(cls, path: Path) -> "DirectoryLock | None":
        """Lock the file, made if need be; None when another holds it. Raises OSError."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # its last owner may have removed the file between our open and our lock: then the lock guards nothing
            if os.fstat(fd).st_ino == path.stat().st_ino:
                return cls(path, fd)
        except (BlockingIOError, FileNotFoundError):
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return None

    @property
    def directory(self) -> Path:
        """The directory this lock guards."""
        return self.path.with_suffix("")

    def remove(self) -> None:
        """Give the lock back and remove its file; the directory must be gone or about to be adopted."""
        self.path.unlink(missing_ok=True)
        os.close(self._fd)

    def release(self) -> None:
        """Give the lock back and leave the file, so that what is left in the directory is adopted."""
        os.close(self._fd)
