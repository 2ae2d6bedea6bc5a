"""How measurements become figures, requirements and the tables of docs/performance.md."""

import dataclasses
import json
from pathlib import Path

import pytest

from bench import report
from bench.capacity import capacity
from bench.figures import Figure, Figures
from bench.requirements import CALL, DIRECT, NGINX, PROXY, requirements
from bench.stage import Measurement, Stage
from bench.subjects import Subject
from bench.workloads import WORKLOADS, Workload

ROOT = Path(__file__).parents[2]


def measured(subject: str, workload: str, cpu: float) -> Measurement:
    """100 calls, 1,000 chunks."""
    return Measurement(subject, workload, 100, 1_000, 1.0, cpu, 500, 2_000, 100, 20_000, 90.0, 100.0, 100, 0)


def rounds(*costs: dict[str, float]) -> Figures:
    """One round for each: the CPU of each subject, in every workload."""
    return Figures([[measured(name, w.name, cpu) for w in WORKLOADS for name, cpu in each.items()] for each in costs])


THREE = rounds(
    {DIRECT: 0, NGINX: 1_000, PROXY: 30_000},
    {DIRECT: 0, NGINX: 4_000, PROXY: 80_000},
    {DIRECT: 0, NGINX: 2_000, PROXY: 20_000},
)


def test_ratios_are_taken_within_a_round() -> None:
    """30, 20 and 10 times: what slowed the second round down slowed both."""
    assert THREE.ratio("json-1k", PROXY, NGINX, CALL) == Figure(20.0, 10.0, 30.0)


def test_a_demand_is_judged_by_its_median() -> None:
    """20 times nginx is within the 35 that must hold and past the 18 aimed at."""
    request = requirements(THREE, None)[0]
    assert (request.found.median, request.met, request.on_target) == (20.0, True, False)
    dear = requirements(rounds({DIRECT: 0, NGINX: 1_000, PROXY: 36_000}), None)[0]
    assert not dear.met


class Neighbours(Stage):
    """A stage whose runs cost and are robbed as told."""

    def __init__(self, *stolen: float) -> None:
        self.runs = [
            dataclasses.replace(measured(PROXY, "json-1k", 1_000.0 * number), stolen=share)
            for number, share in enumerate(stolen, 1)
        ]
        self.made = 0

    def _run(self, subject: Subject, workload: Workload, seconds: float) -> Measurement:
        self.made += 1
        return self.runs[self.made - 1]


@pytest.mark.parametrize(
    ("stolen", "made", "counts"),
    [((0.0,), 1, 1), ((0.02,), 1, 1), ((0.3, 0.01), 2, 2), ((0.3, 0.2, 0.25), 3, 2), ((0.1, 0.2, 0.3), 3, 1)],
)
def test_what_was_stolen_alone_says_which_run_counts(stolen: tuple[float, ...], made: int, counts: int) -> None:
    """Not how dear it was: here each is dearer than the one before."""
    stage = Neighbours(*stolen)
    found = stage.run(Subject(PROXY, None), WORKLOADS[0], 1.0)
    assert (stage.made, found.cpu) == (made, 1_000.0 * counts)


def test_capacity_by_arithmetic() -> None:
    """100 calls a second of 300 tokens at 300 µs a call and 30 a chunk: 0.93 cores, 1,500 streams."""
    needed = capacity(rounds({DIRECT: 0, NGINX: 1_000, PROXY: 30_000}), 100)
    assert needed.cores == pytest.approx(0.93)
    assert (needed.open_streams, needed.instances_by_cpu, needed.instances_by_calls) == (1_500, 2, 15)
    assert (needed.throughput_units, needed.gateway_units) == (1, 1)


def test_the_page_shows_what_was_measured(tmp_path: Path) -> None:
    """The tables of docs/performance.md are those of bench/results/bench.json."""
    page = ROOT / "docs/performance.md"
    copy = tmp_path / "page.md"
    copy.write_text(page.read_text())
    report.write(copy, report.tables(json.loads((ROOT / "bench/results/bench.json").read_text())))
    assert copy.read_text() == page.read_text()


def test_measurements_survive_json() -> None:
    """What is read back from bench.json gives the same figures."""
    again = Figures.from_json(json.loads(json.dumps(THREE.as_json())))
    assert again.as_json() == THREE.as_json()
    assert dataclasses.asdict(requirements(again, None)[0]) == dataclasses.asdict(requirements(THREE, None)[0])
