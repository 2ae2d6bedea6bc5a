"""What a call cost, in Spark: the same, from the tables that are printed for it."""

import json
import os
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.analytics.kit import ROOT, run
from tests.analytics.prices import golden
from tests.analytics.prices.golden import BOOKS, Golden
from tests.analytics.prices.test_cost import check
from tests.analytics.test_spark import python

__all__ = ["python"]
PROGRAM = ROOT / "tests/analytics/spark/costs.py"
pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def by_spark(python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[float | None, str]]:
    directory = tmp_path_factory.mktemp("costs")
    pq.write_table(golden.rows(), directory / "calls.parquet")
    csvs = []
    for name, own in (("Rates", ("--prices", BOOKS.prices)), ("Deployments", ("--deployments", BOOKS.deployments))):
        printed = run("analytics.prices", name, *(str(part) for part in own))
        assert printed.returncode == 0, printed.stderr
        csvs.append(directory / f"{name}.csv")
        csvs[-1].write_text(printed.stdout)
    ended = subprocess.run(
        [python, PROGRAM, directory / "calls.parquet", *csvs],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    rows = [json.loads(row) for row in ended.stdout.splitlines()]
    assert len(rows) == len(golden.calls())
    return {row["id"]: (row.get("cost"), row["unpriced"]) for row in rows}


@pytest.mark.parametrize("call", golden.calls(), ids=lambda call: call.name)
def test_spark_costs_what_was_worked_out(call: Golden, by_spark: dict[str, tuple[float | None, str]]) -> None:
    """To the cent, and far below."""
    check(call, by_spark[call.id])
