"""What must hold and what is aimed at, beside what was found."""

from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from bench.figures import Figure, Figures, Measured
from bench.growth import Growth
from bench.workloads import JSON_1K, PROMPT_200K, STREAMS_50, STREAMS_500, STREAMS_1000, Workload

DIRECT: Final = "direct"
NGINX: Final = "nginx"
PROXY: Final = "proxy"
TRACED: Final = "proxy-traced"
LITELLM: Final = "litellm"

CALL: Final[Measured] = attrgetter("cpu_call")
CHUNK: Final[Measured] = attrgetter("cpu_chunk")


@dataclass(frozen=True, slots=True)
class Demand:
    """One line: what was found, in which unit, and the bounds: the most, or where `at_least` the least."""

    what: str
    found: Figure
    unit: str
    must: float | None
    aim: float
    digits: int = 1
    at_least: bool = False

    @property
    def holds(self) -> bool:
        return self.must is None or self._within(self.must)

    @property
    def met(self) -> bool:
        """Whether the aim is."""
        return self._within(self.aim)

    def bound(self, value: float | None) -> str:
        """Like `≤ 35 x`."""
        return "" if value is None else f"{'≥' if self.at_least else '≤'} {value:g} {self.unit}"

    def _within(self, bound: float) -> bool:
        return self.found.median >= bound if self.at_least else self.found.median <= bound


def demands(figures: Figures, growth: Growth | None) -> list[Demand]:
    """All that can be judged by what was run."""

    def dearer(what: str, workload: Workload, cost: Measured, must: float, aim: float) -> Demand:
        return Demand(what, figures.ratio(workload.name, PROXY, NGINX, cost), "x", must, aim)

    def cheaper(what: str, workload: Workload, cost: Measured, must: float, aim: float) -> Demand:
        return Demand(what, figures.ratio(workload.name, LITELLM, PROXY, cost), "x", must, aim, at_least=True)

    def added(share: str, must: float, aim: float) -> Demand:
        found = figures.added(STREAMS_50.name, PROXY, DIRECT, _ms(f"first_byte_{share}"))
        return Demand(f"added first byte at 50 streams, {share}", found, "ms", must, aim, 2)

    def age(streams: Workload, must: float | None) -> Demand:
        what = f"age of a token on arrival, p99, {streams.connections:,} streams of 20 chunks a second"
        return Demand(what, figures.of(streams.name, PROXY, _ms("age_p99")), "ms", must, 25)

    found = [
        dearer("CPU a request, 1 KB JSON, against nginx", JSON_1K, CALL, 35, 18),
        dearer("CPU a chunk, 50 streams, against nginx", STREAMS_50, CHUNK, 3.5, 2.2),
        added("p50", 1.5, 0.7),
        added("p99", 5.0, 2.5),
        age(STREAMS_500, 25),
        age(STREAMS_1000, None),
    ]
    if figures.has(JSON_1K.name, LITELLM):
        found.append(cheaper("CPU a request, LiteLLM + OpenTelemetry against this", JSON_1K, CALL, 15, 30))
        found.append(cheaper("CPU a chunk, LiteLLM + OpenTelemetry against this", STREAMS_50, CHUNK, 8, 15))
    memory = figures.of(STREAMS_1000.name, PROXY, attrgetter("memory_mb"))
    found.append(Demand("memory at 1,000 open streams", memory, "MB", 150, 110, 0))
    prompt = figures.of(PROMPT_200K.name, PROXY, lambda run: run.cpu_call / 1000)
    found.append(Demand("CPU a request, 200 KB prompt", prompt, "ms", 2, 1, 2))
    if growth:
        a_stream = Figure.of([growth.stream_memory_kb])
        found.append(Demand("memory of an open stream", a_stream, "KB", 40, 40, 0))
    return found


def _ms(name: str) -> Measured:
    return lambda run: getattr(run, name) / 1000
