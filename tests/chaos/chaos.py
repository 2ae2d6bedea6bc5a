"""The chaos: calls while the hub is killed, frozen and throttled and the proxy is killed; then the count."""

import time
from dataclasses import dataclass

from tests.chaos.count import Count, count
from tests.chaos.report import Report
from tests.chaos.stage import Stage
from tests.chaos.timeline import Timeline, Timings

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
    found = outcome.count
    made = stage.calls()
    timings = Timings(outcome.timeline, made, stage.probes())
    broken = [result for *_, result in made if result not in ("whole", REFUSED)]
    calm, hurt = timings.of(timings.own_calls, CALM), timings.of(timings.own_calls, *OUTAGE)
    still, moved = timings.of(timings.own_probes, CALM).longest, timings.of(timings.own_probes, *OUTAGE).longest
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
    for what, more in (("p99", hurt.p99 - calm.p99), ("longest", hurt.longest - calm.longest)):
        added = max(0.0, more)
        result.add(f"added to a call by the hub's faults, {what}", f"{added:.0f} ms", "≤ 250 ms", added <= ADDED_MS)
    result.add("longest stall of the proxy's loop, in calm", f"{still:.0f} ms")
    result.add("… while the hub failed", f"{moved:.0f} ms", "≤ 50 ms more", moved - still <= STALL_MS)
    result.add("from the last call to an empty spool", f"{outcome.drained_s:.1f} s")
    result.tables.append(timings.table((CALM, *OUTAGE, KILLS), stage.memory))
    return result
