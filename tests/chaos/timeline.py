"""The timeline: phases of a run, and the durations of calls and probes in each, with and without waits for a core."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.report import table
from tests.chaos.cores import Waiting
from tests.chaos.count import Durations
from tests.chaos.load import MadeCall
from tests.chaos.probe import Probe

type Samples = list[tuple[float, float]]


@dataclass
class Timeline:
    """Phases by the monotonic clock; a phase may occur several times."""

    phases: list[tuple[str, float, float]] = field(default_factory=list)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.phases.append((name, began, time.monotonic()))

    def within(self, samples: Samples, *names: str) -> list[float]:
        """The values whose times are within the named phases."""
        spans = [(began, ended) for name, began, ended in self.phases if name in names]
        return [value for at, value in samples if any(began <= at < ended for began, ended in spans)]


class Timings:
    """Durations of calls and probes: as measured, and `own`, without waits of the processes for a core."""

    def __init__(self, timeline: Timeline, calls: list[MadeCall], probes: list[Probe]) -> None:
        whole = [call for call in calls if call[4] == "whole"]
        before = [(began, before) for began, _, _, before, _ in probes]
        waiting = Waiting(before + [(began + seconds, after) for began, seconds, _, _, after in probes])
        self._timeline = timeline
        self.calls: Samples = [(began, seconds) for _, began, seconds, _, _ in whole]
        self.own_calls: Samples = [
            (began, max(0.0, seconds - waited - waiting.within(began, seconds)))
            for _, began, seconds, waited, _ in whole
        ]
        self.probes: Samples = [(began, seconds) for began, seconds, *_ in probes]
        self.own_probes: Samples = [
            (began, max(0.0, seconds - waited - (after - before))) for began, seconds, waited, before, after in probes
        ]

    def of(self, samples: Samples, *phases: str) -> Durations:
        return Durations.of(self._timeline.within(samples, *phases))

    def table(self, names: tuple[str, ...], memory: Samples) -> str:
        """Durations in milliseconds and maximum memory, by phase."""
        rows = []
        for name in names:
            call, own_call = self.of(self.calls, name), self.of(self.own_calls, name)
            probe, own_probe = self.of(self.probes, name), self.of(self.own_probes, name)
            most = max(self._timeline.within(memory, name), default=0.0)
            times = (call.p50, call.p99, call.longest, own_call.longest, probe.longest, own_probe.longest, most)
            rows.append((name, str(call.number), *(f"{one:.0f}" for one in times)))
        head = ("phase", "calls", "p50", "p99", "longest", "own", "longest probe", "own", "MB")
        return table(head, rows)
