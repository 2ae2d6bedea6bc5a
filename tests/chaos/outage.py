"""Outage: a minute without a hub under steady load. Measures memory, draining, and a stop with the hub frozen."""

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
    """Run an outage of `seconds` at 200 calls per second."""
    with stage.load(RATE):
        stage.run_for(WARM_UP_S)
        calm = watch_memory(stage, CALM_S)
        stage.hub.kill()
        outage = watch_memory(stage, seconds)
        waiting = stage.proxy.backlog()
        stage.hub.start()
        under_load = drained(stage, RATE)
        stage.run_for(5.0)
        stage.hub.freeze()
        stage.run_for(FROZEN_S)
    left = stage.proxy.backlog()
    stop_s = stage.proxy.stop()
    stage.hub.thaw()
    stage.proxy.start()
    without_load = drained(stage, 0)
    stage.drain(DRAIN_S)
    stage.proxy.stop()
    found = count(stage.seen(), stage.hub.records())
    grown = max(outage) - max(calm)
    result = Report("outage")
    result.add(f"calls in total, {RATE:.0f} per second", f"{found.seen:,}")
    result.add(f"records waiting after {seconds:.0f} s without a hub", f"{waiting:,}")
    result.add(
        "memory before → during the outage",
        f"{max(calm):.0f} → {max(outage):.0f} MB",
        "± 10 MB",
        abs(grown) <= MEMORY_MB,
    )
    result.add("drained afterwards, while calls continue", f"{under_load:,.0f} records/s")
    result.add("records waiting at SIGTERM, hub frozen", f"{left:,}")
    result.add("from SIGTERM to exit", f"{stop_s:.1f} s", "≤ 15 s", stop_s <= EXIT_S)
    result.add(
        "drained by the next process", f"{without_load:,.0f} records/s", "≥ 2,000", without_load >= RECORDS_PER_S
    )
    result.add("lost", found.lost, "0", found.lost == 0)
    result.add("calls with two ids", found.two_ids, "0", found.two_ids == 0)
    result.add("repeated, with equal ids", f"{found.repeated} ({found.repeated_share:.2%})")
    return result


def watch_memory(stage: Stage, seconds: float) -> list[float]:
    """The proxy's memory, sampled for `seconds`."""
    first = len(stage.memory)
    stage.run_for(seconds)
    return [value for _, value in stage.memory[first:]]


def drained(stage: Stage, left: float) -> float:
    """Records per second, from the first that arrives after an outage until only `left` wait."""
    arrived = stage.hub.count()
    wait_for("records reach the hub again", lambda: stage.hub.count() > arrived, DRAIN_S)
    began, arrived = time.monotonic(), stage.hub.count()
    wait_for("the backlog is drained", lambda: stage.proxy.backlog() <= left, DRAIN_S)
    return (stage.hub.count() - arrived) / (time.monotonic() - began)
