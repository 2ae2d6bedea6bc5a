"""Moving: brings files from a directory that is no longer at its path into the one that is, while they are in use."""

import errno
import os
import shutil
from pathlib import Path
from typing import Final

from exporters.lock import OpenDirectory

UNFINISHED: Final = ".moving"


def carry(name: str, left: OpenDirectory, to: Path, fd: int = -1) -> Path:
    """Move a file of a former directory, and return its new path; what is written to `fd` follows it.

    A file that is gone is left to whoever reads it: its new path leads nowhere either. Raises OSError, and then the
    file is where it was.
    """
    target = to / name
    try:
        os.rename(name, target, src_dir_fd=left.fd)
    except FileNotFoundError:
        to.stat()  # raises if it is the target that is gone
    except OSError as fault:
        if fault.errno != errno.EXDEV:
            raise
        _copy(name, left, target, fd)  # another disk was mounted over the root
    return target


def _copy(name: str, left: OpenDirectory, target: Path, fd: int) -> None:
    unfinished = target.with_name(target.name + UNFINISHED)
    source = os.open(name, os.O_RDONLY, dir_fd=left.fd)
    try:
        copy = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        try:
            with os.fdopen(source, "rb", closefd=False) as old, os.fdopen(copy, "ab", closefd=False) as new:
                shutil.copyfileobj(old, new, 1 << 20)
            os.fsync(copy)
            unfinished.rename(target)
            if fd >= 0:
                os.dup2(copy, fd, inheritable=False)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        finally:
            os.close(copy)
    finally:
        os.close(source)
    os.unlink(name, dir_fd=left.fd)
