"""The requirements: limits and targets for the measured figures."""

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
class Requirement:
    """A measured figure with its bounds: maxima, or minima if `at_least`. Without a limit, only the target counts."""

    what: str
    found: Figure
    unit: str
    limit: float | None
    target: float
    digits: int = 1
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.limit is None or self._within(self.limit)

    @property
    def on_target(self) -> bool:
        return self._within(self.target)

    def bound(self, value: float | None) -> str:
        """Like `≤ 35 x`."""
        return "" if value is None else f"{'≥' if self.at_least else '≤'} {value:g} {self.unit}"

    def _within(self, bound: float) -> bool:
        return self.found.median >= bound if self.at_least else self.found.median <= bound


def requirements(figures: Figures, growth: Growth | None) -> list[Requirement]:
    """All requirements on the workloads and subjects that ran."""

    def more_expensive(what: str, workload: Workload, cost: Measured, limit: float, target: float) -> Requirement:
        return Requirement(what, figures.ratio(workload.name, PROXY, NGINX, cost), "x", limit, target)

    def cheaper(what: str, workload: Workload, cost: Measured, limit: float, target: float) -> Requirement:
        return Requirement(what, figures.ratio(workload.name, LITELLM, PROXY, cost), "x", limit, target, at_least=True)

    def added(share: str, limit: float, target: float) -> Requirement:
        found = figures.added(STREAMS_50.name, PROXY, DIRECT, _ms(f"first_byte_{share}"))
        return Requirement(f"added first byte at 50 streams, {share}", found, "ms", limit, target, 2)

    def age(streams: Workload, limit: float | None) -> Requirement:
        what = f"age of a token on arrival, p99, {streams.connections:,} streams of 20 chunks per second"
        return Requirement(what, figures.of(streams.name, PROXY, _ms("age_p99")), "ms", limit, 25)

    found = [
        more_expensive("CPU per request, 1 KB JSON, relative to nginx", JSON_1K, CALL, 35, 18),
        more_expensive("CPU per chunk, 50 streams, relative to nginx", STREAMS_50, CHUNK, 3.5, 2.2),
        added("p50", 1.5, 0.7),
        added("p99", 5.0, 2.5),
        age(STREAMS_500, 25),
        age(STREAMS_1000, None),
    ]
    if figures.has(JSON_1K.name, LITELLM):
        found.append(cheaper("CPU per request, LiteLLM + OpenTelemetry relative to this proxy", JSON_1K, CALL, 15, 30))
        found.append(cheaper("CPU per chunk, LiteLLM + OpenTelemetry relative to this proxy", STREAMS_50, CHUNK, 8, 15))
    memory = figures.of(STREAMS_1000.name, PROXY, attrgetter("memory_mb"))
    found.append(Requirement("memory at 1,000 open streams", memory, "MB", 150, 110, 0))
    prompt = figures.of(PROMPT_200K.name, PROXY, lambda run: run.cpu_call / 1000)
    found.append(Requirement("CPU per request, 200 KB prompt", prompt, "ms", 2, 1, 2))
    if growth:
        stream = Figure.of([growth.stream_memory_kb])
        found.append(Requirement("memory of an open stream", stream, "KB", 40, 40, 0))
    return found


def _ms(name: str) -> Measured:
    return lambda run: getattr(run, name) / 1000
