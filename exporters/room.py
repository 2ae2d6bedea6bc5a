"""Room: how many bytes the spool may take, and who takes how many."""

from dataclasses import dataclass


@dataclass(slots=True)
class Room:
    """Shared by the parts of the spool; each number has one writer. All in bytes."""

    limit: float = float("inf")
    """PROXY_SPOOL_MAX_BYTES."""
    waiting: int = 0
    """The records of this process that wait for the hub."""
    in_flight: int = 0
    """The journal's files for the calls in flight."""
    elsewhere: int = 0
    """The directories of other processes, as last measured."""

    def fits(self, size: int, instead_of: int = 0) -> bool:
        """Whether so many bytes more may be kept, if `instead_of` others are removed right after that."""
        return self.waiting + self.in_flight + self.elsewhere + size - instead_of <= self.limit
