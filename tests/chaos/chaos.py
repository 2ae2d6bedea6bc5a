"""Chaos: calls while the hub is killed, frozen and throttled and the proxy is killed; then the count."""

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
SHARE = 0.4  # of one core for the proxy: at a higher load calls wait for each other, not for the hub
LOADED = 0.8  # of the time; restarts take the rest

CALM = "calm"
KILLED, FROZEN, THROTTLED = "hub killed", "hub frozen", "hub throttled"
BACK = "hub back"
OUTAGE = (KILLED, FROZEN, THROTTLED, BACK)
KILLS = "proxy killed"
REFUSED = "ClientConnectorError"  # the proxy does not listen yet


@dataclass(frozen=True)
class Outcome:
    """The results of a run, in addition to those the stage keeps."""

    rate: float
    timeline: Timeline
    drained_s: float
    lost_by_reason: dict[str, int]
    count: Count


def run(stage: Stage, calls: int, seconds: float) -> Outcome:
    """Run for about `seconds`, or longer if `calls` take longer on this machine."""
    rate = min(calls / (seconds * LOADED), SHARE / stage.cost_per_call())
    timeline, part = Timeline(), calls / (rate * LOADED) / 20
    hub = stage.hub
    with stage.load(rate):
        stage.run_for(2 * part)  # opens connections, fills caches
        faults = (
            (KILLED, hub.kill, hub.start),
            (FROZEN, hub.freeze, hub.thaw),
            (THROTTLED, lambda: hub.throttle(True), lambda: hub.throttle(False)),
        )
        for name, inject, recover in faults:
            with timeline.phase(CALM):  # before each fault, since the load of the machine changes
                stage.run_for(1.5 * part)
            with timeline.phase(name):
                inject()
                stage.run_for(1.5 * part)
            with timeline.phase(BACK):
                recover()
                stage.run_for(1.5 * part)
        with timeline.phase(KILLS):
            kill_the_proxy(stage, part)
        while stage.count() < calls:
            stage.run_for(0.5)
    began = time.monotonic()
    stage.drain(DRAIN_S)
    drained = time.monotonic() - began
    lost_by_reason = stage.proxy.lost()
    stage.proxy.stop()
    return Outcome(rate, timeline, drained, lost_by_reason, count(stage.seen(), stage.hub.records()))


def kill_the_proxy(stage: Stage, part: float) -> None:
    """Kill it five times: once right after a frozen hub resumes, and once while the hub is down."""
    for number in range(5):
        if number == 2:
            stage.hub.freeze()
        if number == 3:
            stage.hub.kill()
        stage.run_for(0.6 * part)
        if number == 2:
            stage.hub.thaw()
        stage.proxy.kill()
        stage.proxy.start()
        if number == 3:
            stage.hub.start()


def report(stage: Stage, outcome: Outcome) -> Report:
    """Compare the results with the requirements."""
    found = outcome.count
    made = stage.calls()
    timings = Timings(outcome.timeline, made, stage.probes())
    cut = [result for *_, result in made if result not in ("whole", REFUSED)]
    calm, faulty = timings.of(timings.own_calls, CALM), timings.of(timings.own_calls, *OUTAGE)
    calm_stall, fault_stall = (
        timings.of(timings.own_probes, CALM).longest,
        timings.of(timings.own_probes, *OUTAGE).longest,
    )
    result = Report("chaos")
    result.add("calls per second, as this machine allows", f"{outcome.rate:.0f}")
    result.add("calls that upstream saw", f"{found.seen:,}")
    result.add("of these, with a record in the hub", f"{found.seen - found.lost:,}")
    result.add("lost", found.lost, "0", found.lost == 0)
    result.add("counted as lost by the proxy", sum(outcome.lost_by_reason.values()), "0", not outcome.lost_by_reason)
    share = found.repeated_share
    result.add("repeated, with equal ids", f"{found.repeated} ({share:.2%})", "< 1 %", share < REPEATED_SHARE)
    result.add("calls with two ids", found.two_ids, "0", found.two_ids == 0)
    result.add("records that name another call", found.wrong, "0", found.wrong == 0)
    result.add("interrupted records", found.interrupted)
    result.add("of these, for calls that upstream never saw", found.never_sent)
    result.add("calls cut for the client by 5 kills of the proxy", len(cut))
    for what, more in (("p99", faulty.p99 - calm.p99), ("longest", faulty.longest - calm.longest)):
        added = max(0.0, more)
        result.add(f"added to a call by the hub's faults, {what}", f"{added:.0f} ms", "≤ 250 ms", added <= ADDED_MS)
    result.add("longest stall of the proxy's event loop, in calm", f"{calm_stall:.0f} ms")
    result.add("… while the hub failed", f"{fault_stall:.0f} ms", "≤ 50 ms more", fault_stall - calm_stall <= STALL_MS)
    result.add("time from the last call to an empty spool", f"{outcome.drained_s:.1f} s")
    result.tables.append(timings.table((CALM, *OUTAGE, KILLS), stage.memory))
    return result
