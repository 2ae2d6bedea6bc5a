"""Seen: one call as the client saw it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

FASTEST: Final = 1000.0
"""Chunks a second; no model generates as many, and what was held somewhere comes faster."""
TOGETHER_S: Final = 0.003
"""Chunks that follow each other faster came as one."""


@dataclass(slots=True)
class Seen:
    """What came, and when; times are seconds from the call's start."""

    trace_id: str
    stream: bool
    content: str = ""
    usage: Mapping[str, object] | None = None
    first_chunk: float | None = None
    tokens_at: list[float] = field(default_factory=list)
    end: float = 0.0

    @property
    def held(self) -> bool:
        """Whether its chunks came faster than they can have been generated."""
        count = len(self.tokens_at)
        return count > 1 and count - 1 > FASTEST * (self.tokens_at[-1] - self.tokens_at[0])

    @property
    def lots(self) -> int:
        """In how many lots its chunks came."""
        pairs = zip([float("-inf"), *self.tokens_at], self.tokens_at, strict=False)
        return sum(1 for earlier, later in pairs if later - earlier > TOGETHER_S)
