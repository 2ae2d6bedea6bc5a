"""The questions: valid KQL over the table, a current translation, and the right rows."""

import json
import subprocess
from pathlib import Path

import pytest

from analytics import prices
from analytics.ask.__main__ import answer
from analytics.ask.questions import QUERIES, Question, questions
from analytics.ask.translate import sql
from analytics.columns import kql_schema
from analytics.table import NAME
from tests.analytics import fixture
from tests.analytics.kit import run
from tests.infra.kusto.parser import Report, parse
from tests.kit import npm

ANSWERS = Path(__file__).with_name("answers")
NAMES = [*questions()]
TABLES = {
    NAME: kql_schema(),
    prices.TABLE: "model: string, region: string, valid_from: datetime, valid_until: datetime,"
    " input: real, cached: real, output: real",
}


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


# Prices


def costs(table: Path, own: Path | None = None) -> dict[str, tuple[float, int]]:
    """By model: the cost, and the tokens without a price."""
    found = answer(Question("tokens_by_caller"), str(table), own_prices=own).to_pylist()
    return {row["model"]: (row["cost_usd"], row["unpriced_tokens"]) for row in found}


def test_list_prices_are_applied(table: Path) -> None:
    """Cached tokens cost less; tokens of a model without a price are reported, not counted as free."""
    found = costs(table)
    assert found["gpt-4o-2024-11-20"] == (round((6600 * 2.5 + 400 * 1.25 + 637 * 10) / 1e6, 4), 0)
    assert found["our-own"] == (0, 1010)


def test_audio_models_have_no_list_price() -> None:
    """The price of text would be wrong for their audio tokens; text models have a price."""
    listed = {price.model for price in prices.read(prices.LISTED)}
    unpriced = ["gpt-4o-audio-preview", "gpt-4o-transcribe", "gpt-audio", "gpt-realtime", "gpt-realtime-mini"]
    assert listed.isdisjoint(unpriced)
    assert listed >= {"gpt-4o", "gpt-4.1-mini", "text-embedding-3-small"}


@pytest.mark.parametrize(
    ("rows", "mini"),
    [
        ("gpt-4o-mini-2024-07-18,Japan East,,2,2,2", 2.0),
        ("gpt-4o-mini-2024-07-18,Japan East,2024-11-14,2,2,2", 2.0),
        ("gpt-4o-mini-2024-07-18,Japan East,2024-11-15,2,2,2", None),
        ("gpt-4o-mini-2024-07-18,Sweden Central,,2,2,2", None),
        ("gpt-4o-mini-2024-07-18,,2024-11-01,3,3,3\ngpt-4o-mini-2024-07-18,,2024-11-14,2,2,2", 2.0),
        ("gpt-4o-mini-2024-07-18,Japan East,,2,2,2\ngpt-4o-mini-2024-07-18,,,9,9,9", 2.0),
    ],
)
def test_own_prices_replace_listed_ones(table: Path, tmp_path: Path, rows: str, mini: float | None) -> None:
    """An own price applies in its region or everywhere, from its date on; elsewhere and before, the listed one."""
    own = tmp_path / "own.csv"
    own.write_text(f"model,region,valid_from,input,cached,output\n{rows}\nour-own,,,1,,\n")
    found = costs(table, own)
    listed = 1010 * 0.15 + 40 * 0.6
    assert found["gpt-4o-mini-2024-07-18"] == (round((listed if mini is None else 1050 * mini) / 1e6, 4), 0)
    assert found["our-own"] == (0.001, 0)


def test_one_price_is_valid_at_any_time() -> None:
    """For each model and region, prices follow each other without a gap."""
    timelines: dict[tuple[str, str], list[dict[str, object]]] = {}
    for row in prices.table().to_pylist():
        timelines.setdefault((row["model"], row["region"]), []).append(row)
    assert max(map(len, timelines.values())) > 1
    for timeline in timelines.values():
        edges = [row["valid_from"] for row in timeline] + [prices.NEVER]
        assert edges == [prices.ALWAYS, *(row["valid_until"] for row in timeline)]


def test_invalid_prices_are_reported(tmp_path: Path, table: Path) -> None:
    """The error names the CSV and the line."""
    own = tmp_path / "own.csv"
    own.write_text("model,input\na,1\nb,dear\n")
    found = ask("tokens_by_caller", "--table", table, "--prices", own)
    assert (found.returncode, "own.csv, line 3" in found.stderr) == (1, True)


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
    assert report[name]["columns"] == answer(Question(name), str(table)).column_names
