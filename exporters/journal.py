"""Journal: a file for each call in flight, so that a killed process leaves an `interrupted` record and not a gap.

Invariants:
  1. From `begin`, before the upstream request, until `end`, after the record was written, a file holds the record that
     the call gets if the process dies now.
  2. A file is complete if it ends in a newline. An incomplete one belongs to a call that never went upstream.
  3. A call that cannot be journalled goes on; the failure is logged and counted in `failures`.

Files are slots that stay open and are reused, so that a call costs one write and one truncation instead of creating and
removing a file.
"""

import contextlib
import errno
import logging
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporters.directory import OwnDirectory
from exporters.lock import OpenDirectory
from exporters.moving import carry
from exporters.room import Room
from exporters.segment import write_all

log = logging.getLogger(__name__)

SLOT: Final = ".call"


@dataclass(slots=True)
class _Slot:
    path: str  # a fifth of the memory of a Path, and every call in flight holds one
    fd: int
    size: int = 0


class Journal:
    """The slots of one process, used on the thread that serves the calls; the sender's may `move` them."""

    def __init__(self, directory: OwnDirectory, room: Room | None = None) -> None:
        """`room` is the spool's."""
        self._directory = directory
        self._room = room or Room()
        self._guard = threading.Lock()
        self._free: list[_Slot] = []
        self._taken: dict[str, _Slot] = {}
        self._opened = 0
        self.failures = 0

    def begin(self, call: str, line: bytes) -> None:
        """Keep `line`, the call's `interrupted` record, until the call ends."""
        size = len(line) + 1
        with self._guard:
            try:
                if not self._room.fits(size):
                    raise OSError(errno.EDQUOT, "PROXY_SPOOL_MAX_BYTES is reached")
                slot = self._free.pop() if self._free else self._open()
                if not _exists(slot.fd):  # someone removed the file: nobody would find the call in it
                    with contextlib.suppress(OSError):
                        os.close(slot.fd)
                    slot = self._open()
                try:
                    write_all(slot.fd, line)
                except OSError:
                    self._free.append(slot)
                    raise
            except OSError as fault:
                self._failed(fault)
                return
            slot.size = size
            self._room.in_flight += size
            self._taken[call] = slot

    def size(self, call: str) -> int:
        """How many bytes the call's file takes."""
        slot = self._taken.get(call)
        return slot.size if slot else 0

    def end(self, call: str) -> None:
        """Forget the call: its record is written, or its loss is counted."""
        with self._guard:
            slot = self._taken.pop(call, None)
            if slot is None:
                return
            self._room.in_flight -= slot.size
            try:
                os.ftruncate(slot.fd, 0)
            except OSError as fault:  # at worst it is adopted, with the same id as the call's record
                self._failed(fault)
                with contextlib.suppress(OSError):
                    os.close(slot.fd)
                return
            self._free.append(slot)

    def move(self, left: OpenDirectory, to: Path) -> None:
        """Move the slots that lie in a former directory of this process; raises OSError, and can be repeated."""
        with self._guard:
            slots = [*self._taken.values(), *self._free]
        for slot in slots:
            folder, _, name = slot.path.rpartition("/")
            with self._guard:
                if folder == str(left.path):
                    slot.path = str(carry(name, left, to, slot.fd))

    def close(self) -> None:
        """Remove the free slots; those of calls in flight stay, for adoption."""
        # emptied first: the calls' thread may be about to end one
        with self._guard:
            free, self._free = self._free, []
            taken, self._taken = self._taken, {}
        for slot in free:
            with contextlib.suppress(OSError):
                Path(slot.path).unlink(missing_ok=True)
            os.close(slot.fd)
        for slot in taken.values():
            os.close(slot.fd)

    def _failed(self, fault: OSError) -> None:
        self.failures += 1
        if self.failures in (1, 100) or self.failures % 10_000 == 0:
            log.warning("%d calls could not be journalled: %s", self.failures, fault.strerror)

    def _open(self) -> _Slot:
        self._opened += 1
        path = f"{self._directory.path()}/{self._opened:06d}{SLOT}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        return _Slot(path, os.open(path, flags, 0o600))


def _exists(fd: int) -> bool:
    try:
        return os.fstat(fd).st_nlink > 0
    except OSError:  # ESTALE: the file is gone from a mounted disk
        return False
