"""Descriptors: the files and sockets that this process may have open, of which a few are kept for records.

A stream takes three: the client's connection, upstream's and the call's file in the journal. New calls are refused
before the last ones are gone, but a server accepts idle connections until none is left; so what a record needs is held
open beforehand, and what a record used is kept for the next one.
"""

import contextlib
import errno
import os
import resource
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

HELD: Final = 8
"""Descriptors for records: the next segment, one being read, and those that are being synced."""
MARGIN: Final = 64
"""With fewer left new calls are refused: open ones may need to connect again, and so may the sender."""
EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE})
_OPEN: Final = Path("/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd")


class Descriptors:
    """May be used from any thread; `look` is for the sender's, once a second."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._held: list[int] = []
        self._blank = -1
        """What the held ones are copies of."""
        self.limit = _limit()
        self.used = 0
        """As last counted."""
        self.scarce = False
        """Whether new calls should be refused."""

    def look(self) -> None:
        """Count the open descriptors, and hold those that should be."""
        self.limit = _limit()
        with self._guard:
            if self._blank < 0:
                with contextlib.suppress(OSError):
                    self._blank = os.open(os.devnull, os.O_RDONLY)
        self.refill()
        try:
            self.used = len(os.listdir(_OPEN))
        except OSError as fault:
            if fault.errno not in EXHAUSTED:
                raise
            self.used = self.limit
        self.scarce = self.used > self.limit - self._margin

    def refill(self) -> None:
        """Take as many descriptors as should be held, if there are so many."""
        with self._guard, contextlib.suppress(OSError):
            while self._blank >= 0 and len(self._held) < HELD:
                self._held.append(os.dup(self._blank))

    def note(self, fd: int) -> None:
        """Tell of a new descriptor: it gets the lowest free number, so its own says that all below are in use."""
        if fd >= self.limit - self._margin:
            self.scarce = True

    def use[T](self, what: Callable[[], T]) -> T:
        """The result of what opens a file for a record, with a held descriptor if there is no other. Raises OSError."""
        while True:
            try:
                return what()
            except OSError as fault:
                if fault.errno not in EXHAUSTED:
                    raise
                with self._guard:
                    if not self._held:
                        raise
                    os.close(self._held.pop())

    def close(self, fd: int) -> None:
        """Close a file, and hold its descriptor if too few are held."""
        with self._guard:
            if self._blank >= 0 and len(self._held) < HELD:
                os.dup2(self._blank, fd, inheritable=False)  # so that no other thread gets it in between
                self._held.append(fd)
                return
        os.close(fd)

    def release(self) -> None:
        """Close those that are held."""
        with self._guard:
            held, self._held, self._blank = [*self._held, self._blank], [], -1
        for fd in held:
            if fd >= 0:
                os.close(fd)

    @property
    def _margin(self) -> int:
        return min(MARGIN, self.limit // 4)


def raise_limit() -> None:
    """Raise this process's soft limit to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS refuses an infinite one
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _limit() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 1 << 30
