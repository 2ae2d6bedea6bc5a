"""What a call cost: every engine comes to what was worked out by hand."""

from decimal import Decimal
from functools import cache

import duckdb
import duckdb_kql
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as some

from analytics.ask.translate import TABLES
from analytics.prices import views
from analytics.prices.dialects import Sql
from analytics.prices.price import TOKENS
from analytics.rows import parse, table_of
from analytics.table import NAME as CALLS
from analytics.table import ROWS
from tests.analytics.kit import call_id, line
from tests.analytics.prices import golden
from tests.analytics.prices.golden import BOOKS, Golden


@cache
def tables() -> dict[str, pa.Table]:
    return BOOKS.tables()


def prepare(connection: duckdb.DuckDBPyConnection, calls: pa.Table) -> None:
    """The tables of prices, and the views of calls."""
    connection.execute("SET TimeZone = 'UTC'")
    for name, table in {**tables(), "stored": calls}.items():
        connection.register(name, table)
    moments = "CAST(timestamp AS TIMESTAMP) AS timestamp, CAST(started_at AS TIMESTAMP) AS started_at"
    for name in (CALLS, ROWS):
        connection.execute(f"CREATE VIEW {name} AS SELECT * REPLACE ({moments}) FROM stored")


def priced(query: str, calls: pa.Table) -> dict[str, tuple[float | None, str]]:
    """By id: the cost of each call, and what has no price."""
    with duckdb.connect() as connection:
        prepare(connection, calls)
        found = connection.sql(f"SELECT id, cost, unpriced FROM ({query})").fetchall()
    assert len(found) == calls.num_rows
    return {call: (cost, unpriced) for call, cost, unpriced in found}


@pytest.fixture(scope="module")
def by_duckdb() -> dict[str, tuple[float | None, str]]:
    return priced(views.sql(Sql()), golden.rows())


@pytest.fixture(scope="module")
def by_kql() -> dict[str, tuple[float | None, str]]:
    """What the KQL comes to, translated by the package duckdb-kql, which knows nothing of our own translation."""
    return priced(str(duckdb_kql.to_sql(views.kql(), schema={**TABLES, ROWS: TABLES[CALLS]})), golden.rows())


def check(call: Golden, found: tuple[float | None, str]) -> None:
    cost, unpriced = found
    assert unpriced == call.unpriced
    assert (cost is None) == (call.usd is None)
    if cost is not None and call.usd is not None:
        assert cost == pytest.approx(float(call.usd), rel=1e-9)
        assert round(Decimal(cost), 2) == round(call.usd, 2)


@pytest.mark.parametrize("call", golden.calls(), ids=lambda call: call.name)
def test_duckdb_costs_what_was_worked_out(call: Golden, by_duckdb: dict[str, tuple[float | None, str]]) -> None:
    """To the cent, and far below."""
    check(call, by_duckdb[call.id])


@pytest.mark.parametrize("call", golden.calls(), ids=lambda call: call.name)
def test_kql_costs_what_was_worked_out(call: Golden, by_kql: dict[str, tuple[float | None, str]]) -> None:
    """The same KQL that Azure Data Explorer gets."""
    check(call, by_kql[call.id])


COUNTS = some.fixed_dictionaries(
    {},
    optional={
        **{name: some.integers(0, 50) for name in ("cached_tokens", "cache_write_tokens", "cache_write_1h_tokens")},
        **{name: some.integers(0, 50) for name in ("audio_tokens", "image_tokens")},
        **{name: some.integers(0, 50) for name in ("cached_audio_tokens", "cached_image_tokens")},
    },
)
USAGES = some.builds(
    lambda prompt, completion, details, details_out: {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "prompt_tokens_details": details,
        "completion_tokens_details": details_out,
    },
    *(some.integers(0, 100), some.integers(0, 100), COUNTS, COUNTS),
)
OUT = ("output_tokens", "audio_output_tokens", "image_output_tokens")


@given(some.lists(USAGES, min_size=1, max_size=50))
def test_billed_tokens_add_up(usages: list[dict[str, object]]) -> None:
    """Whatever parts upstream tells, and if they contradict each other: each token is billed once, as one thing."""
    calls = table_of([parse(line(number, usage=usage)) for number, usage in enumerate(usages)])
    steps, _, chosen = views.sql(Sql()).rpartition("\nSELECT ")
    sides = {"into": [what for what in TOKENS if what not in OUT], "out": OUT}
    sums = ", ".join(f"{' + '.join(f'billed_{what}' for what in whats)} AS {side}" for side, whats in sides.items())
    least = ", ".join(f"billed_{what}" for what in TOKENS)
    query = f"{steps}\nSELECT id, {sums}, least({least}) AS smallest FROM {chosen.rpartition(' ')[2]}"
    with duckdb.connect() as connection:
        prepare(connection, calls)
        found = {call: rest for call, *rest in connection.sql(query).fetchall()}
    for number, usage in enumerate(usages):
        into, out, smallest = found[call_id(number)]
        assert (into, out) == (usage["prompt_tokens"], usage["completion_tokens"])
        assert smallest >= 0


def test_the_working_is_right() -> None:
    """At least 40 cases, each with a working that comes to what it says."""
    calls = golden.calls()
    assert len(calls) >= 40
    assert len({call.name for call in calls}) == len(calls)
    assert all(call.worked_out() == call.usd for call in calls)
