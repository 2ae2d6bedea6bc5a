"""Growth: what a chunk costs in longer streams, a call over more connections, a stream in memory, and more workers."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from bench.process import processors
from bench.stage import Measurement, Stage
from bench.subjects import Around, Subject, proxy
from bench.workloads import STREAMS_1000, Workload

_LENGTHS: Final = (100, 1_000, 5_000, 20_000)
_CONNECTIONS: Final = (1, 10, 100, 1_000)
_PAUSE_US: Final = 250
_MEMORY: Final = "stream_memory_kb"


@dataclass(frozen=True, slots=True)
class Growth:
    """CPU in µs, memory in KB; by what grows."""

    chunk_by_length: dict[int, float]
    call_by_connections: dict[int, float]
    stream_memory_kb: float
    rate_by_workers: dict[int, float]
    call_by_workers: dict[int, float]


def measured(stage: Stage, seconds: float, say: Callable[[Measurement], None]) -> Growth:
    """Every figure once; memory first, on a proxy that has held nothing yet."""

    def run(workload: Workload) -> Measurement:
        found = stage.run(subject, workload, seconds)
        say(found)
        return found

    with _running(stage.around, "growth") as subject:
        run(_streams(100))  # what is loaded or opened at the first call is no stream's
        full = run(STREAMS_1000)
        by_connections = {count: run(_calls(count)).cpu_call for count in _CONNECTIONS}
        by_length = {length: run(_streams(length)).cpu_chunk for length in _LENGTHS}
    rate, cost = {}, {}
    for workers in (1, 2):
        # on all processors, which the load, the upstream and the hub have a part of too
        around = replace(stage.around, cpus=[*processors()[1], *processors()[0]])
        with _running(around, f"workers-{workers}", "--workers", str(workers)) as subject:
            run(_calls(64))
            found = run(_calls(64))
            rate[workers], cost[workers] = found.calls / found.seconds, found.cpu_call
    memory = (full.memory_mb - full.memory_before_mb) * 1000 / STREAMS_1000.connections
    return Growth(by_length, by_connections, memory, rate, cost)


def from_json(found: dict[str, Any]) -> Growth:
    """What `dataclasses.asdict` and JSON made of it: keys that are numbers have become text."""
    numbered = {name: {int(key): cost for key, cost in found[name].items()} for name in found if name != _MEMORY}
    return Growth(**numbered, stream_memory_kb=found[_MEMORY])


@contextlib.contextmanager
def _running(around: Around, name: str, *arguments: str) -> Iterator[Subject]:
    subject = proxy(around, name, *arguments)
    try:
        yield subject
    finally:
        subject.stop()


def _streams(length: int) -> Workload:
    """One stream after another; as many chunks a second, whatever their length."""
    share = 0.0 if length == max(_LENGTHS) else 1.0
    return Workload(f"length-{length}", f"streams of {length:,} chunks", f"stream-{length}-{_PAUSE_US}", 1, share=share)


def _calls(connections: int) -> Workload:
    return Workload(f"connections-{connections}", f"{connections:,} connections", "json-1024", connections)
