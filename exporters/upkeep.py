"""Upkeep: what the sender's thread does for this process's directory every second."""

from exporters.directory import OwnDirectory
from exporters.journal import Journal
from exporters.spool import Spool


class Upkeep:
    """Keeps the directory, and all that it should hold, at its path."""

    def __init__(self, own: OwnDirectory, spool: Spool, journal: Journal) -> None:
        self._own = own
        self._spool = spool
        self._journal = journal

    def restore(self) -> None:
        """If the directory is no longer at its path, make another one there, and move everything to it.

        Raises OSError; what was not moved then is moved by the next call.
        """
        if not self._own.exists:
            return
        to = self._own.path()
        for left in self._own.left():
            self._journal.move(left, to)
            self._spool.move(left, to)
            self._own.forget(left)
