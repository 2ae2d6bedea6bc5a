"""Figures, requirements and the tables of docs/performance.md are computed from measurements."""

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
    """One round per argument, with the CPU of each subject in every workload."""
    return Figures([[measured(name, w.name, cpu) for w in WORKLOADS for name, cpu in each.items()] for each in costs])


THREE = rounds(
    {DIRECT: 0, NGINX: 1_000, PROXY: 30_000},
    {DIRECT: 0, NGINX: 4_000, PROXY: 80_000},
    {DIRECT: 0, NGINX: 2_000, PROXY: 20_000},
)


def test_ratios_are_taken_within_a_round() -> None:
    """Ratios of 30, 20 and 10: what slowed the second round affected both subjects."""
    assert THREE.ratio("json-1k", PROXY, NGINX, CALL) == Figure(20.0, 10.0, 30.0)


def test_a_demand_is_judged_by_its_median() -> None:
    """A ratio of 20 to nginx is within the limit of 35 and over the target of 18."""
    request = requirements(THREE, None)[0]
    assert (request.found.median, request.met, request.on_target) == (20.0, True, False)
    costly = requirements(rounds({DIRECT: 0, NGINX: 1_000, PROXY: 36_000}), None)[0]
    assert not costly.met


class Neighbours(Stage):
    """A stage with given shares stolen; each run costs more than the one before."""

    def __init__(self, *stolen: float) -> None:
        self.runs = [
            dataclasses.replace(measured(PROXY, "json-1k", 1_000.0 * number), stolen=share)
            for number, share in enumerate(stolen, 1)
        ]
        self.runs_made = 0

    def _run(self, subject: Subject, workload: Workload, seconds: float) -> Measurement:
        self.runs_made += 1
        return self.runs[self.runs_made - 1]


@pytest.mark.parametrize(
    ("stolen", "runs_made", "counted"),
    [((0.0,), 1, 1), ((0.02,), 1, 1), ((0.3, 0.01), 2, 2), ((0.3, 0.2, 0.25), 3, 2), ((0.1, 0.2, 0.3), 3, 1)],
)
def test_the_run_with_least_stolen_time_counted(stolen: tuple[float, ...], runs_made: int, counted: int) -> None:
    """Runs repeat while too much is stolen, at most three; the cost of a run does not decide."""
    stage = Neighbours(*stolen)
    found = stage.run(Subject(PROXY, None), WORKLOADS[0], 1.0)
    assert (stage.runs_made, found.cpu) == (runs_made, 1_000.0 * counted)


def test_capacity_is_computed_from_cost_per_call_and_chunk() -> None:
    """100 calls per second of 300 tokens at 300 µs per call and 30 per chunk: 0.93 cores, 1,500 streams."""
    needed = capacity(rounds({DIRECT: 0, NGINX: 1_000, PROXY: 30_000}), 100)
    assert needed.cores == pytest.approx(0.93)
    assert (needed.open_streams, needed.instances_by_cpu, needed.instances_by_calls) == (1_500, 2, 15)
    assert (needed.throughput_units, needed.gateway_units) == (1, 1)


def test_the_page_matches_the_results(tmp_path: Path) -> None:
    """The tables of docs/performance.md are those of bench/results/bench.json."""
    page = ROOT / "docs/performance.md"
    copy = tmp_path / "page.md"
    copy.write_text(page.read_text())
    report.write(copy, report.tables(json.loads((ROOT / "bench/results/bench.json").read_text())))
    assert copy.read_text() == page.read_text()


def test_measurements_survive_json() -> None:
    """Measurements read back from bench.json give the same figures."""
    again = Figures.from_json(json.loads(json.dumps(THREE.as_json())))
    assert again.as_json() == THREE.as_json()
    assert dataclasses.asdict(requirements(again, None)[0]) == dataclasses.asdict(requirements(THREE, None)[0])
