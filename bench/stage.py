"""The stage: mock upstream, hub, sink and load on their processors, and the subject on its own."""

import contextlib
import json
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.hub import Hub
from bench.process import Clock, Process, processors
from bench.subjects import Setup, Subject, broker_command, sink_command
from bench.tools import compiled
from bench.workloads import Workload

_DELIVERED_S: Final = 60.0
_POLL_S: Final = 0.05
QUIET: Final = 0.02
TRIES: Final = 3


class BadRun(Exception):
    """Calls failed, bytes were changed, or records or spans were not delivered."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run of a workload through a subject. Times in µs unless their names say otherwise."""

    subject: str
    workload: str
    calls: int
    chunks: int
    seconds: float
    cpu: float
    """CPU time of the subject, from the first call until everything was delivered."""
    first_byte_p50: int
    first_byte_p99: int
    age_p50: int
    age_p99: int
    memory_before_mb: float
    memory_mb: float
    """Maximum while the load ran."""
    records: int
    spans: int
    """Request envelopes that Application Insights received."""
    stolen: float = 0.0
    """Share of all processors' time stolen by other virtual machines meanwhile, from 0 to 1."""

    @property
    def cpu_call(self) -> float:
        return self.cpu / self.calls

    @property
    def cpu_chunk(self) -> float:
        return self.cpu / self.chunks


class Stage:
    """All processes around the subjects; `run` measures a subject."""

    def __init__(self, setup: Setup, upstream: Process, hub: Hub, others: list[int]) -> None:
        self.setup = setup
        self.upstream = upstream
        self._hub = hub
        self._others = others
        self._load = compiled("load")

    def run(self, subject: Subject, workload: Workload, seconds: float) -> Measurement:
        """Start calls for `seconds` times the workload's share, and measure. Raises BadRun, WrongRecords.

        On a virtual machine a run with more than QUIET of the time stolen says as much about the neighbours. It is
        repeated, up to TRIES runs, and the one with the least time stolen counts, whatever its result.
        """
        tries: list[Measurement] = []
        while len(tries) < TRIES and all(run.stolen > QUIET for run in tries):
            tries.append(self._run(subject, workload, seconds))
        return min(tries, key=lambda run: run.stolen)

    def _run(self, subject: Subject, workload: Workload, seconds: float) -> Measurement:
        request = self.setup.directory / "request"
        workload.write_request(request, subject.traced)
        command = [self._load, subject.port, workload.connections, seconds * workload.share, workload.spread, request]
        process = subject.process
        records, spans = self._hub.count(), self._spans()
        upstream = self._upstream_calls()
        memory = process.memory_mb() if process else 0.0
        cpu, clock = process.cpu_us() if process else 0.0, Clock.now()
        with _maximum(process.memory_mb if process else lambda: 0.0) as maximum:
            seen = self._run_load([str(part) for part in command] + ([] if subject.same_bytes else ["any"]))
        calls = int(seen["calls"])
        if subject.records:
            self._wait_delivered(lambda: self._hub.count() - records, calls, "records")
        if subject.traced:
            self._wait_delivered(lambda: self._spans() - spans, calls, "spans")
        cpu = process.cpu_us() - cpu if process else 0.0
        stolen = Clock.now().share_stolen_since(clock)
        if self._upstream_calls() - upstream != calls:
            raise BadRun(
                f"{subject.name}, {workload.name}: upstream saw {self._upstream_calls() - upstream} of {calls}"
            )
        if subject.records:
            self._hub.check_new(workload, calls)
        return Measurement(
            subject.name,
            workload.name,
            calls,
            seen["chunks"],
            seen["seconds"],
            cpu,
            seen["first_byte_us"]["p50"],
            seen["first_byte_us"]["p99"],
            seen["age_us"]["p50"],
            seen["age_us"]["p99"],
            memory,
            maximum[0],
            self._hub.count() - records,
            self._spans() - spans,
            stolen,
        )

    def _run_load(self, command: list[str]) -> Any:
        """Run the load generator and return its results. Raises BadRun if it reports errors."""
        cpus = ",".join(map(str, self._others))
        done = subprocess.run(["taskset", "-c", cpus, *command], capture_output=True, text=True, check=False)
        if done.returncode:
            raise BadRun(f"{command}: {done.stdout}{done.stderr[-2000:]}")
        return json.loads(done.stdout)

    def _wait_delivered(self, count: Callable[[], int], calls: int, what: str) -> None:
        deadline = time.monotonic() + _DELIVERED_S
        while (delivered := count()) < calls:
            if time.monotonic() > deadline:
                raise BadRun(f"{delivered} {what} of {calls} calls were delivered")
            time.sleep(_POLL_S)

    def _spans(self) -> int:
        return int(_get(self.setup.sink).get("RequestData", 0))

    def _upstream_calls(self) -> int:
        return int(_get(self.setup.upstream, "/count"))


@contextlib.contextmanager
def stage(directory: Path) -> Iterator[Stage]:
    """Start everything around the subjects; stop it at the end of the block."""
    subjects, others = processors()
    with contextlib.ExitStack() as started:

        def start(name: str, command: list[str | Path]) -> Process:
            process = Process(command, directory / f"{name}.log", others)
            started.callback(process.stop)
            return process

        upstream = start("upstream", [compiled("upstream")])
        upstream_port = int(upstream.first_line())
        sink_port = int(start("sink", [*sink_command()]).first_line())
        hub = json.loads(start("hub", [*broker_command(directory / "hub")]).first_line())
        setup = Setup(directory, subjects, upstream_port, sink_port, hub["connection_string"])
        yield Stage(setup, upstream, Hub(hub["control_port"]), others)


@contextlib.contextmanager
def _maximum(look: Callable[[], float]) -> Iterator[list[float]]:
    """Sample a value during the block; the list holds the maximum."""
    maximum, ended = [look()], threading.Event()

    def watch() -> None:
        while not ended.wait(_POLL_S):
            maximum[0] = max(maximum[0], look())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield maximum
    finally:
        ended.set()
        watcher.join()


def _get(port: int, path: str = "/") -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as response:
        return json.load(response)
