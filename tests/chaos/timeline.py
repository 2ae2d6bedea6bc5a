"""The timeline: what was the case when, and how long calls and probes took then, with and without waits for a core."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.chaos.cores import Waiting
from tests.chaos.count import Waits
from tests.chaos.load import Made
from tests.chaos.probe import Probe
from tests.chaos.report import table

type Moments = list[tuple[float, float]]


@dataclass
class Timeline:
    """Phases by the monotonic clock; one may come several times."""

    phases: list[tuple[str, float, float]] = field(default_factory=list)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.phases.append((name, began, time.monotonic()))

    def within(self, moments: Moments, *names: str) -> list[float]:
        """Of moments and values the values of those that fall in such phases."""
        spans = [(began, ended) for name, began, ended in self.phases if name in names]
        return [value for moment, value in moments if any(began <= moment < ended for began, ended in spans)]


class Timings:
    """How long calls and probes took: as it was, and `own`, without what the processes waited for a core."""

    def __init__(self, timeline: Timeline, calls: list[Made], probes: list[Probe]) -> None:
        whole = [call for call in calls if call[4] == "whole"]
        before = [(began, before) for began, _, _, before, _ in probes]
        waiting = Waiting(before + [(began + seconds, after) for began, seconds, _, _, after in probes])
        self._timeline = timeline
        self.calls: Moments = [(began, seconds) for _, began, seconds, _, _ in whole]
        self.own_calls: Moments = [
            (began, max(0.0, seconds - waited - waiting.within(began, seconds)))
            for _, began, seconds, waited, _ in whole
        ]
        self.probes: Moments = [(began, seconds) for began, seconds, *_ in probes]
        self.own_probes: Moments = [
            (began, max(0.0, seconds - waited - (after - before))) for began, seconds, waited, before, after in probes
        ]

    def of(self, moments: Moments, *phases: str) -> Waits:
        return Waits.of(self._timeline.within(moments, *phases))

    def table(self, names: tuple[str, ...], memory: Moments) -> str:
        """By phase, with the most memory; in milliseconds."""
        rows = []
        for name in names:
            call, own_call = self.of(self.calls, name), self.of(self.own_calls, name)
            probe, own_probe = self.of(self.probes, name), self.of(self.own_probes, name)
            most = max(self._timeline.within(memory, name), default=0.0)
            times = (call.half, call.p99, call.longest, own_call.longest, probe.longest, own_probe.longest, most)
            rows.append((name, str(call.number), *(f"{one:.0f}" for one in times)))
        head = ("phase", "calls", "p50", "p99", "longest", "own", "longest probe", "own", "MB")
        return table(head, rows)
