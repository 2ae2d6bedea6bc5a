"""Measures views of many calls: `python -m tests.analytics.dashboard.scale [1000000] [--table DIR]`.

Every view is a different selection of time, region and caller. The first one, which loads the table, is reported
separately. Needs Linux: it reads the server's memory from /proc.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from tests.analytics.dashboard.serving import Dashboard
from tests.analytics.fixture import write_many
from tests.analytics.kit import START

VIEWS = 60
HOURS = 48


def selections(chance: random.Random) -> list[dict[str, str]]:
    """Selections among the calls that `tests.analytics.fill` generates."""
    chosen = []
    for number in range(VIEWS):
        query = {"before": (START + timedelta(hours=HOURS, seconds=number)).isoformat()}
        if number % 4:
            since = chance.uniform(0, HOURS * 0.9)
            query["since"] = (START + timedelta(hours=since)).isoformat()
        if number % 3 == 1:
            query["region"] = chance.choice(("Sweden Central", "East US 2", "West Europe", "Japan East"))
        if number % 5 == 2:
            query |= {"by": "subscription_id", "caller": f"team-{chance.randint(1, 30)}"}
        chosen.append(query)
    return chosen


def measure(table: Path) -> None:
    """Time the views, and print the figures and the server's peak memory."""
    with Dashboard(table) as running:
        began = time.perf_counter()
        calls = running.get("/api/view")["table"]["calls"]
        print(f"{calls:,} calls, loaded in {time.perf_counter() - began:.1f} s")
        taken = []
        for query in selections(random.Random(3)):
            began = time.perf_counter()
            running.get("/api/view", **query)
            taken.append((time.perf_counter() - began) * 1000)
        cuts = statistics.quantiles(taken, n=100)
        print(f"a view: p50 {cuts[49]:.0f} ms, p95 {cuts[94]:.0f} ms, longest {max(taken):.0f} ms")
        status = Path(f"/proc/{running.process.pid}/status").read_text()
        print(*(line for line in status.splitlines() if line.startswith("VmHWM")))


def main() -> None:
    """Write a table, unless one is given, and measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("calls", type=int, nargs="?", default=1_000_000)
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    if sys.platform != "linux":
        parser.error(f"reads /proc, which {sys.platform} does not have")
    if options.table:
        measure(options.table)
        return
    with tempfile.TemporaryDirectory() as directory:
        write_many(Path(directory), options.calls)
        measure(Path(directory))


if __name__ == "__main__":
    main()
