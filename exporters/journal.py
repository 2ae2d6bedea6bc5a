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
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporters.directory import OwnDirectory
from exporters.segment import write_all

log = logging.getLogger(__name__)

SLOT: Final = ".call"


@dataclass(frozen=True, slots=True)
class _Slot:
    path: str  # a fifth of the memory of a Path, and every call in flight holds one
    fd: int


class Journal:
    """The slots of one process, used on the thread that serves the calls."""

    def __init__(self, directory: OwnDirectory) -> None:
        self._directory = directory
        self._free: list[_Slot] = []
        self._taken: dict[str, _Slot] = {}
        self._opened = 0
        self.failures = 0

    def begin(self, call: str, line: bytes) -> None:
        """Keep `line`, the call's `interrupted` record, until the call ends."""
        try:
            slot = self._free.pop() if self._free else self._open()
            if not _is_in_place(slot.fd):  # someone removed the file: nobody would find the call in it
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
        self._taken[call] = slot

    def end(self, call: str) -> None:
        """Forget the call: its record is written, or its loss is counted."""
        slot = self._taken.pop(call, None)
        if slot is None:
            return
        try:
            os.ftruncate(slot.fd, 0)
        except OSError as fault:  # at worst it is adopted, with the same id as the call's record
            self._failed(fault)
            with contextlib.suppress(OSError):
                os.close(slot.fd)
            return
        self._free.append(slot)

    def close(self) -> None:
        """Remove the free slots; those of calls in flight stay, for adoption."""
        # emptied first: the calls' thread may be about to end one
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


def _is_in_place(fd: int) -> bool:
    try:
        return os.fstat(fd).st_nlink > 0
    except OSError:  # ESTALE: the file is gone from a mounted disk
        return False


def interrupted_lines(directory: Path) -> list[tuple[Path, bytes]]:
    """The slots of a dead process, each with its line without the newline: empty for a free or a torn slot."""
    found = []
    for path in sorted(directory.glob(f"*{SLOT}")):
        content = path.read_bytes()
        found.append((path, content[:-1] if content.endswith(b"\n") else b""))
    return found
