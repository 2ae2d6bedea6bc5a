"""The outage: a minute without a hub under steady load: memory, the backlog's way out, an end with the hub frozen."""

import time

from tests.chaos.count import count
from tests.chaos.report import Report
from tests.chaos.stage import Stage, wait_for

RATE = 200.0
WARM_UP_S = 20.0
CALM_S = 20.0
FROZEN_S = 30.0
MEMORY_MB = 10.0
RECORDS_PER_S = 2000.0
EXIT_S = 15.0
DRAIN_S = 120.0


def run(stage: Stage, seconds: float) -> Report:
    """An outage of so many seconds at 200 calls a second."""
    with stage.load(RATE):
        stage.go_on(WARM_UP_S)
        calm = watched(stage, CALM_S)
        stage.hub.kill()
        away = watched(stage, seconds)
        waiting = stage.proxy.backlog()
        stage.hub.start()
        beside = drained(stage, RATE)
        stage.go_on(5.0)
        stage.hub.freeze()
        stage.go_on(FROZEN_S)
    left = stage.proxy.backlog()
    took = stage.proxy.stop()
    stage.hub.thaw()
    stage.proxy.start()
    alone = drained(stage, 0)
    stage.drain(DRAIN_S)
    stage.proxy.stop()
    found = count(stage.seen(), stage.hub.records())
    grown = max(away) - max(calm)
    result = Report("outage")
    result.add(f"calls in all, {RATE:.0f} a second", f"{found.seen:,}")
    result.add(f"records that waited after {seconds:.0f} s without a hub", f"{waiting:,}")
    result.add("memory before → during it", f"{max(calm):.0f} → {max(away):.0f} MB", "± 10 MB", abs(grown) <= MEMORY_MB)
    result.add("drained afterwards, beside the calls", f"{beside:,.0f} records/s")
    result.add("records that waited at SIGTERM, the hub frozen", f"{left:,}")
    result.add("from SIGTERM to exit", f"{took:.1f} s", "≤ 15 s", took <= EXIT_S)
    result.add("drained by the next process", f"{alone:,.0f} records/s", "≥ 2,000", alone >= RECORDS_PER_S)
    result.add("lost", found.lost, "0", found.lost == 0)
    result.add("calls with two ids", found.two_ids, "0", found.two_ids == 0)
    result.add("repeated, with equal ids", f"{found.repeated} ({found.repeated_share:.2%})")
    return result


def watched(stage: Stage, seconds: float) -> list[float]:
    """The proxy's memory through so many seconds."""
    first = len(stage.memory)
    stage.go_on(seconds)
    return [value for _, value in stage.memory[first:]]


def drained(stage: Stage, left: float) -> float:
    """Records a second from the first one that arrives after an outage to when only so many wait."""
    arrived = stage.hub.count()
    wait_for("the hub is found again", lambda: stage.hub.count() > arrived, DRAIN_S)
    began, arrived = time.monotonic(), stage.hub.count()
    wait_for("the backlog is drained", lambda: stage.proxy.backlog() <= left, DRAIN_S)
    return (stage.hub.count() - arrived) / (time.monotonic() - began)
