"""Seen: one call as the client saw it."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

FASTEST: Final = 1000.0
"""Chunks a second; no model generates as many, and what was held somewhere comes faster."""
TOGETHER_S: Final = 0.003
"""Chunks that follow each other faster came as one."""
PAUSE_S: Final = 0.25
"""As long, and no longer, chunks that came together may seem to have taken: a busy machine reads them with pauses."""


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
        """Whether its chunks came faster than they can have been generated.

        A few pauses between them do not speak against it where they are short beside the wait before the first.
        """
        gaps = sorted(later - earlier for earlier, later in itertools.pairwise(self.tokens_at))
        if not gaps:
            return False
        within = sum(gaps)
        but_for_pauses = gaps[len(gaps) * 3 // 4] < 1 / FASTEST and within <= min(PAUSE_S, self.tokens_at[0] / 8)
        return len(gaps) > FASTEST * within or but_for_pauses

    @property
    def lots(self) -> int:
        """In how many lots its chunks came."""
        pairs = zip([float("-inf"), *self.tokens_at], self.tokens_at, strict=False)
        return sum(1 for earlier, later in pairs if later - earlier > TOGETHER_S)
