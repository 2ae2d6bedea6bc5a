"""The figures: medians over all rounds with their spread, alone and relative to another subject."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from bench.stage import Measurement

type Measured = Callable[[Measurement], float]


@dataclass(frozen=True, slots=True)
class Figure:
    """The median, minimum and maximum over the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        return cls(statistics.median(values), min(values), max(values))

    def text(self, digits: int = 0) -> str:
        """Like `12.3 (11.9 to 12.8)`; without the spread if all rounds are equal."""
        alone = f"{self.median:,.{digits}f}"
        return alone if self.low == self.high else f"{alone} ({self.low:,.{digits}f} to {self.high:,.{digits}f})"


class Figures:
    """All measurements of a run of the benchmark, in order."""

    def __init__(self, rounds: Iterable[Sequence[Measurement]]) -> None:
        self._rounds = [{(m.workload, m.subject): m for m in each} for each in rounds]

    def has(self, workload: str, subject: str) -> bool:
        return any((workload, subject) in each for each in self._rounds)

    def of(self, workload: str, subject: str, measured: Measured) -> Figure:
        """A figure of one subject. Raises KeyError if the workload never ran."""
        return self._over_rounds((workload, subject), lambda each: measured(each[workload, subject]))

    def ratio(self, workload: str, subject: str, base: str, measured: Measured) -> Figure:
        """Ratio to the base, taken within each round, so that a slow round affects both."""
        return self._over_rounds(
            (workload, subject), lambda each: measured(each[workload, subject]) / measured(each[workload, base])
        )

    def added(self, workload: str, subject: str, base: str, measured: Measured) -> Figure:
        """Difference to the base, taken within each round."""
        return self._over_rounds(
            (workload, subject), lambda each: measured(each[workload, subject]) - measured(each[workload, base])
        )

    def records(self, subject: str) -> tuple[int, int]:
        """Calls made and records delivered, in all rounds."""
        runs = [run for each in self._rounds for run in each.values() if run.subject == subject]
        return sum(run.calls for run in runs), sum(run.records for run in runs)

    def stolen(self) -> Figure:
        """Share of the processors' time stolen by other virtual machines, in percent."""
        return Figure.of([100 * run.stolen for each in self._rounds for run in each.values()])

    def as_json(self) -> list[list[dict[str, Any]]]:
        return [[asdict(run) for run in each.values()] for each in self._rounds]

    @classmethod
    def from_json(cls, rounds: list[list[dict[str, Any]]]) -> Self:
        return cls([[Measurement(**run) for run in each] for each in rounds])

    def _over_rounds(
        self, needed: tuple[str, str], value: Callable[[dict[tuple[str, str], Measurement]], float]
    ) -> Figure:
        values = [value(each) for each in self._rounds if needed in each]
        if not values:
            raise KeyError(needed)
        return Figure.of(values)
