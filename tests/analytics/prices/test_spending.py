"""Money: what callers spend of their budgets, what provisioned deployments come to, and which calls have no price."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from analytics.ask.__main__ import answer
from analytics.ask.questions import DEFAULTS, Question
from analytics.folder import LocalFolder
from analytics.prices.books import Books
from analytics.rows import parse, table_of
from analytics.table import Part, by_hour, encoded
from tests.analytics.kit import call_id, line, run
from tests.analytics.prices.golden import GOLDEN

NOVEMBER = datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC)
MILLION = {"prompt_tokens": 1_000_000, "completion_tokens": 0, "total_tokens": 1_000_000}
SEARCH: dict[str, Any] = {"caller": {"product": "search", "user_id": "bob"}, "model": "plain", "usage": MILLION}
OWN = (GOLDEN / "prices.csv", GOLDEN / "deployments.csv")
BUDGETS = """caller_field,name,usd,month
product,search,50,
product,search,8,2026-11
product,idle,5,
user_id,bob,2,
"""
AUDIO = {**MILLION, "prompt_tokens_details": {"audio_tokens": 1000}}


def written(directory: Path, *bodies: bytes) -> str:
    folder = LocalFolder(directory / "table")
    rows = table_of([parse(body) for body in bodies])
    for hour, of_hour in by_hour(rows).items():
        folder.write(Part(hour, "ab", "0", 0, rows.num_rows - 1).name, encoded(of_hour))
    return str(directory / "table")


@pytest.fixture
def table(tmp_path: Path) -> str:
    """Calls of November 2026: two of a million tokens at a dollar, one estimated; others that have no price."""
    (tmp_path / "budgets.csv").write_text(BUDGETS)
    return written(
        tmp_path,
        line(1, NOVEMBER, **SEARCH),
        line(2, NOVEMBER, **(SEARCH | {"usage_source": "estimated"})),
        line(3, datetime(2026, 12, 1, tzinfo=UTC), **SEARCH),
        line(4, NOVEMBER, **(SEARCH | {"model": "unheard-of"})),
        line(5, NOVEMBER, **(SEARCH | {"deployment": "ptu", "backend": "sweden-ptu"})),
        line(6, NOVEMBER, model="plain", usage=AUDIO),
        line(7, NOVEMBER, model="alpha", deployment="zone", service_tier="flex"),
        line(8, NOVEMBER, model="alpha", usage=None, usage_source="missing"),
        line(9, NOVEMBER, model="alpha", usage=None, usage_source="missing", status="upstream_error"),
    )


def options(tmp_path: Path) -> list[str]:
    prices, deployments = map(str, OWN)
    return ["--prices", prices, "--deployments", deployments, "--budgets", str(tmp_path / "budgets.csv")]


def test_a_month_has_a_share_of_its_budget(table: str, tmp_path: Path) -> None:
    """The month's own budget goes before the general one; unpriced and provisioned usage is told beside the cost."""
    asked = run("analytics.ask", "spend", "--table", table, "--month", "2026-11", "--json", *options(tmp_path))
    by_product = {row["caller"]: row for row in map(json.loads, asked.stdout.splitlines())}
    search = by_product["search"]
    assert (search["calls"], search["cost_usd"], search["estimated_usd"], search["unpriced_calls"]) == (4, 2, 1, 1)
    assert (search["provisioned_tokens"], search["budget_usd"], search["budget_percent"]) == (1_000_000, 8, 25)
    assert by_product["chat"]["budget_usd"] is None
    asked = run("analytics.ask", "spend", "--table", table, "--by", "user_id", "--json", *options(tmp_path))
    by_user = {row["caller"]: row for row in map(json.loads, asked.stdout.splitlines())}
    assert (by_user["bob"]["cost_usd"], by_user["bob"]["budget_percent"]) == (3, 150)


@pytest.mark.parametrize("month", ["2026-1x", "November", "2026-13"])
def test_a_month_is_a_month(month: str) -> None:
    """--month 2026-11."""
    assert run("analytics.ask", "spend", "--table", "nowhere", "--month", month).returncode == 2


def test_provisioned_hours_are_told(tmp_path: Path) -> None:
    """Hours within the period times units and price, idle or not, and what a million tokens came to."""
    deployments = tmp_path / "deployments.csv"
    deployments.write_text(
        "deployment,backend,type,units,price_an_hour,valid_from,valid_until\n"
        "ptu,north,provisioned,50,1,2026-01-01,2026-01-11\n"
        "ptu,north,provisioned,100,1,2026-01-11,2026-02-11\n"
        "ptu,south,provisioned,10,2,2026-01-20,2026-01-21\n"
        "tuned,,global,1,1.7,2026-01-31,2026-02-02\n"
        "normal,,global,,,,\n"
    )
    used: dict[str, Any] = {"deployment": "ptu", "backend": "north", "usage": MILLION}
    table = written(
        tmp_path,
        line(1, datetime(2026, 1, 5, tzinfo=UTC), **used),
        line(2, datetime(2026, 1, 15, tzinfo=UTC), **used),
        line(3, datetime(2026, 2, 5, tzinfo=UTC), **used),
        line(4, datetime(2026, 1, 5, tzinfo=UTC), deployment="tuned", usage=MILLION),
    )
    january = {"since": datetime(2026, 1, 1), "until": datetime(2026, 2, 1)}
    found = answer(Question("provisioned"), table, january, Books(deployments=deployments)).to_pylist()
    north, south, tuned = (
        next(row for row in found if (row["deployment"], row["backend"]) == name)
        for name in (("ptu", "north"), ("ptu", "south"), ("tuned", ""))
    )
    assert len(found) == 3
    # 240 hours of 50 units and 504 of 100
    assert (north["hours"], north["unit_hours"], north["cost_usd"]) == (744, 62_400, 62_400)
    assert (north["calls"], north["prompt_tokens"], north["usd_per_million_tokens"]) == (2, 2_000_000, 31_200)
    assert (south["cost_usd"], south["calls"], south["usd_per_million_tokens"]) == (480, 0, None)
    assert (tuned["hours"], tuned["cost_usd"]) == (24, 40.8)
    assert answer(Question("provisioned"), table, DEFAULTS).num_rows == 0


def test_calls_without_a_price_are_told(table: str, tmp_path: Path) -> None:
    """By model and what is missing, with an example; refused calls need no price. The exit code says whether any."""
    check = ["--check", "--table", table, "--prices", str(OWN[0]), "--deployments", str(OWN[1])]
    found = run("analytics.prices", *check)
    assert found.returncode == 1, found.stderr
    assert found.stderr == ""
    said = [re.split(r"\s{2,}", told.strip()) for told in found.stdout.splitlines()[1:]]
    assert sorted((model, missing, calls) for model, missing, calls, _ in said) == [
        ("alpha", "input_tokens, output_tokens (type data_zone, region swedencentral, tier flex)", "1"),
        ("alpha", "the usage: upstream reported none", "1"),
        ("plain", "audio_input_tokens (type global, tier default)", "1"),
        ("unheard-of", "the model: no prices are known", "1"),
    ]
    assert call_id(4) in [example for *_, example in said]
    early = run("analytics.prices", *check, "--until", "2026-11-01")
    assert (early.returncode, early.stdout) == (0, "")


def test_a_check_says_from_when_on_there_is_a_price(tmp_path: Path) -> None:
    """If a model has the price later."""
    own = tmp_path / "own.csv"
    own.write_text("model,what,price,valid_from\nnew,input_tokens,1,2026-12-01\n")
    table = written(tmp_path, line(1, NOVEMBER, model="new", usage=MILLION))
    said = run("analytics.prices", "--check", "--table", table, "--prices", own).stdout
    assert "input_tokens (type global, tier default, before 2026-12-01)" in said


def test_a_check_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """With another exit code than calls without a price."""
    assert run("analytics.prices", "--check").returncode == 2
    missing = run("analytics.prices", "--check", "--table", str(tmp_path), "--prices", str(tmp_path / "none.csv"))
    assert (missing.returncode, "none.csv" in missing.stderr) == (2, True)
