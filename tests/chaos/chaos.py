"""The chaos: calls while the hub is killed, frozen and throttled and the proxy is killed; then the count."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.chaos.count import Waits, count
from tests.chaos.report import Report, table
from tests.chaos.stage import Stage

ADDED_MS = 250.0
STALL_MS = 50.0
REPEATED_SHARE = 0.01
DRAIN_S = 120.0


@dataclass
class Timeline:
    """When what was the case, by the monotonic clock."""

    phases: list[tuple[str, float, float]] = field(default_factory=list)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.phases.append((name, began, time.monotonic()))

    def within(self, moments: list[tuple[float, float]], *names: str) -> list[float]:
        """Of moments and values the values of those that fall in such phases."""
        spans = [(began, ended) for name, began, ended in self.phases if name in names]
        return [value for moment, value in moments if any(began <= moment < ended for began, ended in spans)]


CALM = "calm"
HUB_FAULTS = ("hub killed", "hub frozen", "hub throttled")
AFTER = "hub back"
KILLS = "proxy killed"
REFUSED = "ClientConnectorError"  # by a port on which no proxy listens yet


def run(stage: Stage, calls: int, seconds: float) -> Report:
    """Run it in about so many seconds, or as long as so many calls take."""
    timeline, part = Timeline(), seconds / 20
    with stage.load(calls / (seconds * 0.8)):
        stage.go_on(2 * part)  # connections, caches
        with timeline.phase(CALM):
            stage.go_on(4 * part)
        hurt_the_hub(stage, timeline, part)
        with timeline.phase(KILLS):
            kill_the_proxy(stage, part)
        while stage.count() < calls:
            stage.go_on(0.5)
    began = time.monotonic()
    stage.drain(DRAIN_S)
    drained = time.monotonic() - began
    lost_by_reason = stage.proxy.lost()
    stage.proxy.stop()
    return report(stage, timeline, drained, lost_by_reason)


def hurt_the_hub(stage: Stage, timeline: Timeline, part: float) -> None:
    """Each fault once, with a while after it in which the backlog goes out beside the calls."""
    hub = stage.hub
    with timeline.phase(HUB_FAULTS[0]):
        hub.kill()
        stage.go_on(1.5 * part)
    with timeline.phase(AFTER):
        hub.start()
        stage.go_on(1.5 * part)
    with timeline.phase(HUB_FAULTS[1]):
        hub.freeze()
        stage.go_on(1.5 * part)
    with timeline.phase(AFTER):
        hub.thaw()
        stage.go_on(1.5 * part)
    with timeline.phase(HUB_FAULTS[2]):
        hub.throttle(True)
        stage.go_on(1.5 * part)
    with timeline.phase(AFTER):
        hub.throttle(False)
        stage.go_on(1.5 * part)


def kill_the_proxy(stage: Stage, part: float) -> None:
    """Five times, once in the middle of sending a backlog and once with the hub away."""
    for number in range(5):
        if number == 2:
            stage.hub.freeze()
        if number == 3:
            stage.hub.kill()
        stage.go_on(part)
        if number == 2:
            stage.hub.thaw()
        stage.proxy.kill()
        stage.proxy.start()
        if number == 3:
            stage.hub.start()


def report(stage: Stage, timeline: Timeline, drained: float, lost_by_reason: dict[str, int]) -> Report:
    """What it comes to."""
    calls, probes = stage.calls(), stage.probes()
    whole = [(began, seconds) for _, began, seconds, outcome in calls if outcome == "whole"]
    broken = [outcome for *_, outcome in calls if outcome not in ("whole", REFUSED)]
    outage = (*HUB_FAULTS, AFTER)
    calm, hurt = (Waits.of(timeline.within(whole, *names)) for names in ((CALM,), outage))
    still, moved = (Waits.of(timeline.within(probes, *names)) for names in ((CALM,), outage))
    found = count(stage.seen(), stage.hub.records())
    result = Report("chaos")
    result.add("calls that upstream saw", found.seen)
    result.add("records of them at the hub", found.seen - found.lost)
    result.add("lost", found.lost, "0", found.lost == 0)
    result.add("counted as lost by the proxy", lost_by_reason or 0, "0", not lost_by_reason)
    result.add(
        "repeated, with equal ids",
        f"{found.repeated} ({found.repeated_share:.2%})",
        "< 1 %",
        found.repeated_share < REPEATED_SHARE,
    )
    result.add("calls with two ids", found.two_ids, "0", found.two_ids == 0)
    result.add("records that name another call", found.wrong, "0", found.wrong == 0)
    result.add(
        "interrupted, of calls that upstream saw or was about to", f"{found.interrupted} ({found.never_asked} not seen)"
    )
    result.add("calls that broke for the client, by 5 kills of the proxy", len(broken))
    result.add(
        "added to a call by the hub's faults, p99",
        f"{hurt.p99 - calm.p99:.0f} ms",
        "≤ 250 ms",
        hurt.p99 - calm.p99 <= ADDED_MS,
    )
    result.add(
        "added to the slowest call",
        f"{hurt.longest - calm.longest:.0f} ms",
        "≤ 250 ms",
        hurt.longest - calm.longest <= ADDED_MS,
    )
    result.add(
        "longest stall of the loop, calm → hub's faults",
        f"{still.longest:.0f} → {moved.longest:.0f} ms",
        "≤ 50 ms more",
        moved.longest - still.longest <= STALL_MS,
    )
    result.add("backlog gone after the last call", f"{drained:.1f} s")
    result.tables.append(waits_table(timeline, whole, probes, stage.memory))
    return result


def waits_table(
    timeline: Timeline,
    calls: list[tuple[float, float]],
    probes: list[tuple[float, float]],
    memory: list[tuple[float, float]],
) -> str:
    """How long calls and probes took in each phase, and the memory."""
    rows = []
    for name in (CALM, *HUB_FAULTS, AFTER, KILLS):
        call, probe = (Waits.of(timeline.within(found, name)) for found in (calls, probes))
        most = max(timeline.within(memory, name), default=0.0)
        times = (call.half, call.p99, call.longest, probe.p99, probe.longest)
        rows.append((name, str(call.number), *(f"{one:.0f}" for one in times), f"{most:.0f}"))
    head = ("phase", "calls", "p50 ms", "p99 ms", "longest ms", "probe p99 ms", "longest ms", "memory MB")
    return table(head, rows)
