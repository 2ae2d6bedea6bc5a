"""The questions: valid KQL over the table, a current translation, and the right rows."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from analytics.ask.__main__ import answer
from analytics.ask.questions import CALLER, QUERIES, Question, questions
from analytics.ask.translate import sql
from analytics.columns import kql_schema
from analytics.engines import declared
from analytics.prices import budgets, cost, deployments, rates
from analytics.table import NAME
from tests.analytics import fixture
from tests.analytics.kit import line, run
from tests.infra.kusto.parser import Report, parse
from tests.kit import npm

ANSWERS = Path(__file__).with_name("answers")
NAMES = [*questions()]
BOOKS = {table.NAME: declared(table.SCHEMA, "kql") for table in (rates, deployments, budgets)}
"""Tables of prices, as KQL declares them."""
PRICED = f"{kql_schema()}, {', '.join(f'{name}: string' for name in (*cost.TEXTS, 'unpriced'))}, cost: real"
TABLES = {NAME: kql_schema(), cost.NAME: f"{PRICED}, provisioned: bool", **BOOKS}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("table")
    fixture.write(directory)
    return directory


def ask(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run("analytics.ask", *arguments)


def test_the_promised_questions_exist() -> None:
    """Each starts with the question in plain language."""
    assert {"calls_over_time", "latency_by_region", "tokens_by_caller", "outcomes"} <= set(NAMES)
    assert {"slowest_calls", "queue_time_by_hour", "aborted_and_filtered"} <= set(NAMES)
    assert all(question.words.endswith("?") for question in questions().values())
    assert sorted(path.stem for path in QUERIES.glob("*.sql")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_translations_are_up_to_date(name: str) -> None:
    """NAME.sql is the translation of NAME.kql."""
    assert Question(name).sql == sql(Question(name).kql), "run python -m analytics.ask.translate"


@pytest.mark.parametrize("name", NAMES)
def test_results_are_right(name: str, table: Path) -> None:
    """Twelve calls, few enough to count by hand, give the expected rows."""
    found = ask(name, "--table", table, "--json")
    assert found.returncode == 0, found.stderr
    expected = (ANSWERS / f"{name}.jsonl").read_text().splitlines()
    assert [json.loads(row) for row in found.stdout.splitlines()] == [json.loads(row) for row in expected]


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_table_has_results(name: str, tmp_path: Path) -> None:
    """Before the first record every question returns no rows."""
    assert answer(Question(name), str(tmp_path)).num_rows == 0


def test_since_and_until_bound_a_question(table: Path) -> None:
    """--since and --until select calls by their end, in UTC or with an offset."""
    found = ask("calls_over_time", "--table", table, "--json", "--since", "2024-11-13T07:00", "--until", "2024-11-14")
    assert [json.loads(row)["calls"] for row in found.stdout.splitlines()] == [8]
    found = ask("calls_over_time", "--table", table, "--json", "--until", "2024-11-13T08:00+01:00")
    assert [json.loads(row)["calls"] for row in found.stdout.splitlines()] == [1]


def test_results_are_printed_as_a_table(table: Path) -> None:
    """Without a terminal the table is not truncated and names its columns; an unknown question is an error."""
    found = ask("latency_by_region", "--table", table)
    assert "tokens_per_second_p99" in found.stdout
    assert "Sweden Central" in found.stdout
    listed = ask("--list").stdout
    assert all(name in listed for name in NAMES)
    assert ask("weather", "--table", table).returncode == 2


def test_slowest_calls_link_to_their_traces(table: Path) -> None:
    """With the id of the Application Insights resource, each call has a link to its trace in the portal."""
    found = ask("slowest_calls", "--table", table, "--json", "--app-insights", "/subscriptions/s/x y")
    first = json.loads(found.stdout.splitlines()[0])
    assert first["trace_id"] in first["trace_url"]
    assert "resourceId/%2Fsubscriptions%2Fs%2Fx%20y/" in first["trace_url"]


# Callers


GROUPING = [name for name in NAMES if Question(name).field is not None]


def test_questions_about_many_calls_can_be_grouped() -> None:
    """By a caller's field: all but those that list single calls, responses or deployments."""
    assert set(NAMES) - set(GROUPING) == {"pending", "provisioned", "slowest_calls"}
    by = re.compile(r"\| extend caller = case\((.*?)\)\)", re.DOTALL)
    assert len({found[1] for name in GROUPING if (found := by.search(Question(name).kql))}) == 1


@pytest.mark.parametrize("name", GROUPING)
@pytest.mark.parametrize(("field", "callers"), [("user_id", {"ann", "bob"}), ("cost_center", {"", "12"})])
def test_any_field_of_the_caller_groups(name: str, field: str, callers: set[str], tmp_path: Path) -> None:
    """One with a column, and one that the operator's own headers named; the calls are as many as without."""
    fixture.write(tmp_path, line(40, caller={"user_id": "ann", "cost_center": "12"}))
    table = str(tmp_path)
    found = answer(Question(name), table, by=field).to_pylist()
    assert {row["caller"] for row in found} == callers
    assert sum(row["calls"] for row in found) == sum(row["calls"] for row in answer(Question(name), table).to_pylist())
    assert not {"product", "user_id", "subscription_id"} & found[0].keys()


def test_a_field_replaces_the_questions_own(table: Path) -> None:
    """--by product: a row for each product and model."""
    found = ask("tokens_by_caller", "--table", table, "--by", "product", "--json")
    rows = [json.loads(row) for row in found.stdout.splitlines()]
    assert [(row["caller"], row["model"], row["calls"]) for row in rows] == [
        ("chat", "gpt-4o-2024-11-20", 9),
        ("search", "gpt-4o-mini-2024-07-18", 2),
        ("search", "our-own", 1),
    ]
    assert ask("slowest_calls", "--table", table, "--by", "product").returncode == 1
    assert ask("spend", "--table", table, "--by", "x'y").returncode == 2


def test_list_prices_are_applied(table: Path) -> None:
    """Cached tokens cost less; tokens of a model without a price are reported, not counted as free."""
    rows = answer(Question("tokens_by_caller"), str(table)).to_pylist()
    found = {row["model"]: (row["cost_usd"], row["unpriced_tokens"]) for row in rows}
    assert found["gpt-4o-2024-11-20"] == (round((6600 * 2.5 + 400 * 1.25 + 637 * 10) / 1e6, 4), 0)
    assert found["our-own"] == (0, 1010)


@pytest.fixture(scope="module")
def report() -> Report:
    """Microsoft's parser's report on every question."""
    with npm.needed_for("Microsoft's parser of KQL"):
        return parse({name: Question(name).kql for name in NAMES}, TABLES)
    raise AssertionError


@pytest.mark.heavy
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", NAMES)
def test_queries_are_valid(name: str, report: Report, table: Path) -> None:
    """Microsoft's parser finds no errors, and the same columns that DuckDB returns."""
    assert report[name]["faults"] == []
    unused = (CALLER,) if Question(name).field == "" else ()
    columns = [column for column in report[name]["columns"] if column not in unused]
    assert columns == answer(Question(name), str(table)).column_names
