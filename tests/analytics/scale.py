"""Measures how fast a full hub is consumed and queried: `python -m tests.analytics.scale [1000000]`.

The consumer reads to the hub's current end; then each question runs three times, and the median counts.
Needs Linux: it reads the consumer's memory from /proc.
"""

import argparse
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

from analytics.ask.__main__ import answer
from analytics.ask.questions import Question, questions
from dev.event_hubs.process import BrokerProcess
from tests.analytics.consuming import ConsumerProcess, peak_memory
from tests.analytics.fill import bodies, fill


def consumed(directory: Path, records: int) -> Path:
    """Fill a hub, consume it and print the figures. Returns the table."""
    print(f"filling a hub with {records:,} records", flush=True)
    fill(directory / "hub", bodies(records))
    with BrokerProcess(directory / "hub") as broker:
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        running = ConsumerProcess(broker.connection_string, directory / "table", "--once")
        peak = peak_memory(running.process)
        said = running.wait().splitlines()[-1]
        seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(said)
    print(f"{records / seconds:,.0f} records a second, {cpu / records * 1e6:.0f} µs of CPU each, {peak / 1000:.0f} MB")
    return directory / "table"


def asked(table: Path) -> None:
    """Run every question and print its time."""
    for name in questions():
        taken = []
        for _ in range(3):
            began = time.perf_counter()
            answer(Question(name), str(table))
            taken.append(time.perf_counter() - began)
        print(f"{name:24} {statistics.median(taken):5.2f} s", flush=True)
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000:.0f} MB")


def main() -> None:
    """Consume and query."""
    parser = argparse.ArgumentParser()
    parser.add_argument("records", type=int, nargs="?", default=1_000_000)
    options = parser.parse_args()
    if sys.platform != "linux":
        parser.error(f"reads /proc, which {sys.platform} does not have")
    with tempfile.TemporaryDirectory() as directory:
        asked(consumed(Path(directory), options.records))


if __name__ == "__main__":
    main()
