"""Growth: cost per chunk by stream length and per call by connections and workers; memory per open stream."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from bench.process import processors
from bench.stage import Measurement, Stage
from bench.subjects import Setup, Subject, proxy
from bench.workloads import STREAMS_1000, Workload

_LENGTHS: Final = (100, 1_000, 5_000, 20_000)
_CONNECTIONS: Final = (1, 10, 100, 1_000)
_PAUSE_US: Final = 250
_MEMORY: Final = "stream_memory_kb"


@dataclass(frozen=True, slots=True)
class Growth:
    """CPU in µs and memory in KB; the keys are lengths, connections or workers."""

    chunk_by_length: dict[int, float]
    call_by_connections: dict[int, float]
    stream_memory_kb: float
    rate_by_workers: dict[int, float]
    call_by_workers: dict[int, float]


def measured(stage: Stage, seconds: float, report: Callable[[Measurement], None]) -> Growth:
    """Measure each figure once; memory first, on a fresh proxy."""

    def run(workload: Workload) -> Measurement:
        found = stage.run(subject, workload, seconds)
        report(found)
        return found

    with _running(stage.setup, "growth") as subject:
        run(_streams(100))  # so that lazy imports and new connections do not count as memory of streams
        full = run(STREAMS_1000)
        by_connections = {count: run(_calls(count)).cpu_call for count in _CONNECTIONS}
        by_length = {length: run(_streams(length)).cpu_chunk for length in _LENGTHS}
    rate, cost = {}, {}
    for workers in (1, 2):
        # on all processors, shared with the load, the upstream and the hub
        setup = replace(stage.setup, cpus=[*processors()[1], *processors()[0]])
        with _running(setup, f"workers-{workers}", "--workers", str(workers)) as subject:
            run(_calls(64))
            found = run(_calls(64))
            rate[workers], cost[workers] = found.calls / found.seconds, found.cpu_call
    memory = (full.memory_mb - full.memory_before_mb) * 1000 / STREAMS_1000.connections
    return Growth(by_length, by_connections, memory, rate, cost)


def from_json(found: dict[str, Any]) -> Growth:
    """Reverse `dataclasses.asdict` and JSON, which turns numeric keys into strings."""
    numbered = {name: {int(key): cost for key, cost in found[name].items()} for name in found if name != _MEMORY}
    return Growth(**numbered, stream_memory_kb=found[_MEMORY])


@contextlib.contextmanager
def _running(setup: Setup, name: str, *arguments: str) -> Iterator[Subject]:
    subject = proxy(setup, name, *arguments)
    try:
        yield subject
    finally:
        subject.stop()


def _streams(length: int) -> Workload:
    """One stream after another, at the same rate of chunks whatever their length."""
    share = 0.0 if length == max(_LENGTHS) else 1.0
    return Workload(f"length-{length}", f"streams of {length:,} chunks", f"stream-{length}-{_PAUSE_US}", 1, share=share)


def _calls(connections: int) -> Workload:
    return Workload(f"connections-{connections}", f"{connections:,} connections", "json-1024", connections)
