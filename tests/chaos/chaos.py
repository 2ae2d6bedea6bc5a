"""The chaos: calls while the hub is killed, frozen and throttled and the proxy is killed; then the count."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.chaos.count import Count, Waits, count
from tests.chaos.report import Report, table
from tests.chaos.stage import Stage

ADDED_MS = 250.0
STALL_MS = 50.0
REPEATED_SHARE = 0.01
DRAIN_S = 120.0
SHARE = 0.4  # of one core for the proxy: nearer to what it can do, calls wait for each other and not for the hub
LOADED = 0.8  # of the time; the rest goes into restarts

CALM = "calm"
KILLED, FROZEN, THROTTLED = "hub killed", "hub frozen", "hub throttled"
BACK = "hub back"
OUTAGE = (KILLED, FROZEN, THROTTLED, BACK)
KILLS = "proxy killed"
REFUSED = "ClientConnectorError"  # by a port on which no proxy listens yet


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


@dataclass(frozen=True)
class Outcome:
    """What a run leaves to be looked at, beside what the stage has kept."""

    rate: float
    timeline: Timeline
    drained_s: float
    lost_by_reason: dict[str, int]
    count: Count


def run(stage: Stage, calls: int, seconds: float) -> Outcome:
    """Run it in about so many seconds, or in as many as so many calls take on this machine."""
    rate = min(calls / (seconds * LOADED), SHARE / stage.cost_of_a_call())
    timeline, part = Timeline(), calls / (rate * LOADED) / 20
    hub = stage.hub
    with stage.load(rate):
        stage.go_on(2 * part)  # connections, caches
        faults = (
            (KILLED, hub.kill, hub.start),
            (FROZEN, hub.freeze, hub.thaw),
            (THROTTLED, lambda: hub.throttle(True), lambda: hub.throttle(False)),
        )
        for name, hurt, mend in faults:
            with timeline.phase(CALM):  # each time, since others use the machine as well
                stage.go_on(1.5 * part)
            with timeline.phase(name):
                hurt()
                stage.go_on(1.5 * part)
            with timeline.phase(BACK):
                mend()
                stage.go_on(1.5 * part)
        with timeline.phase(KILLS):
            kill_the_proxy(stage, part)
        while stage.count() < calls:
            stage.go_on(0.5)
    began = time.monotonic()
    stage.drain(DRAIN_S)
    drained = time.monotonic() - began
    lost_by_reason = stage.proxy.lost()
    stage.proxy.stop()
    return Outcome(rate, timeline, drained, lost_by_reason, count(stage.seen(), stage.hub.records()))


def kill_the_proxy(stage: Stage, part: float) -> None:
    """Five times, once just when a hub that was frozen is back, and once with the hub away."""
    for number in range(5):
        if number == 2:
            stage.hub.freeze()
        if number == 3:
            stage.hub.kill()
        stage.go_on(0.6 * part)
        if number == 2:
            stage.hub.thaw()
        stage.proxy.kill()
        stage.proxy.start()
        if number == 3:
            stage.hub.start()


def report(stage: Stage, outcome: Outcome) -> Report:
    """What it comes to."""
    timeline, found = outcome.timeline, outcome.count
    calls, probes = stage.calls(), stage.probes()
    whole = [(began, seconds) for _, began, seconds, outcome in calls if outcome == "whole"]
    broken = [outcome for *_, outcome in calls if outcome not in ("whole", REFUSED)]
    calm, hurt = (Waits.of(timeline.within(whole, *names)) for names in ((CALM,), OUTAGE))
    loop = [(began, seconds) for began, seconds, _ in probes]
    machine = [(began, seconds) for began, _, seconds in probes]
    still, moved = (Waits.of(timeline.within(loop, *names)).longest for names in ((CALM,), OUTAGE))
    standstill = Waits.of(timeline.within(machine, *OUTAGE)).longest
    result = Report("chaos")
    result.add("calls a second, of what this machine can do", f"{outcome.rate:.0f}")
    result.add("calls that upstream saw", f"{found.seen:,}")
    result.add("of them with a record at the hub", f"{found.seen - found.lost:,}")
    result.add("lost", found.lost, "0", found.lost == 0)
    result.add("counted as lost by the proxy", sum(outcome.lost_by_reason.values()), "0", not outcome.lost_by_reason)
    share = found.repeated_share
    result.add("repeated, with equal ids", f"{found.repeated} ({share:.2%})", "< 1 %", share < REPEATED_SHARE)
    result.add("calls with two ids", found.two_ids, "0", found.two_ids == 0)
    result.add("records that name another call", found.wrong, "0", found.wrong == 0)
    result.add("interrupted records", found.interrupted)
    result.add("of them of calls that upstream never saw", found.never_asked)
    result.add("calls that broke for the client, by 5 kills of the proxy", len(broken))
    for what, added in (("p99", hurt.p99 - calm.p99), ("longest", hurt.longest - calm.longest)):
        result.add(
            f"added to a call by the hub's faults, {what}", f"{max(0.0, added):.0f} ms", "≤ 250 ms", added <= ADDED_MS
        )
    stall = moved - max(still, standstill)
    result.add("longest stall of the proxy's loop, in calm", f"{still:.0f} ms")
    result.add("… while the hub failed", f"{moved:.0f} ms", "≤ 50 ms more", stall <= STALL_MS)
    result.add("… of the machine, meanwhile", f"{standstill:.0f} ms")
    result.add("from the last call to an empty spool", f"{outcome.drained_s:.1f} s")
    result.tables.append(phases(timeline, whole, loop, stage.memory))
    return result


def phases(
    timeline: Timeline,
    calls: list[tuple[float, float]],
    probes: list[tuple[float, float]],
    memory: list[tuple[float, float]],
) -> str:
    """How long calls and probes took in each phase, and the most memory."""
    rows = []
    for name in (CALM, *OUTAGE, KILLS):
        call, probe = (Waits.of(timeline.within(found, name)) for found in (calls, probes))
        most = max(timeline.within(memory, name), default=0.0)
        times = (call.half, call.p99, call.longest, probe.p99, probe.longest, most)
        rows.append((name, str(call.number), *(f"{one:.0f}" for one in times)))
    head = ("phase", "calls", "p50 ms", "p99 ms", "longest ms", "probe: p99 ms", "longest ms", "memory MB")
    return table(head, rows)
