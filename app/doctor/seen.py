"""Seen: one call as the client saw it."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

FASTEST: Final = 1000.0
"""Chunks per second: no model generates as many; a buffered stream arrives faster."""
TOGETHER_S: Final = 0.003
"""Chunks closer together than this arrived as one batch."""
PAUSE_S: Final = 0.25
"""The longest that one burst of chunks may appear to take: a busy machine pauses while reading them."""


@dataclass(slots=True)
class Seen:
    """What arrived, and when; times are seconds from the call's start."""

    trace_id: str
    stream: bool
    content: str = ""
    usage: Mapping[str, object] | None = None
    first_chunk: float | None = None
    tokens_at: list[float] = field(default_factory=list)
    end: float = 0.0

    @property
    def buffered(self) -> bool:
        """Whether the chunks arrived faster than a model can generate them.

        Tolerates a few pauses between them that are short compared with the wait before the first.
        """
        gaps = sorted(later - earlier for earlier, later in itertools.pairwise(self.tokens_at))
        if not gaps:
            return False
        within = sum(gaps)
        but_for_pauses = gaps[len(gaps) * 3 // 4] < 1 / FASTEST and within <= min(PAUSE_S, self.tokens_at[0] / 8)
        return len(gaps) > FASTEST * within or but_for_pauses

    @property
    def batches(self) -> int:
        """In how many batches the chunks arrived."""
        pairs = zip([float("-inf"), *self.tokens_at], self.tokens_at, strict=False)
        return sum(1 for earlier, later in pairs if later - earlier > TOGETHER_S)
