"""What a call cost: every engine comes to what was worked out by hand."""

from decimal import Decimal

import duckdb
import duckdb_kql
import pyarrow as pa
import pytest

from analytics.ask.translate import TABLES
from analytics.prices import views
from analytics.prices.dialects import Sql
from analytics.table import NAME as CALLS
from analytics.table import ROWS
from tests.analytics.prices import golden
from tests.analytics.prices.golden import BOOKS, Golden

CENT = Decimal("0.01")


def priced(query: str, calls: pa.Table) -> dict[str, tuple[float | None, str]]:
    """By id: the cost of each call, and what has no price."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, table in {**BOOKS.tables(), "stored": calls}.items():
            connection.register(name, table)
        moments = "CAST(timestamp AS TIMESTAMP) AS timestamp, CAST(started_at AS TIMESTAMP) AS started_at"
        for name in (CALLS, ROWS):
            connection.execute(f"CREATE VIEW {name} AS SELECT * REPLACE ({moments}) FROM stored")
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


def test_the_working_is_right() -> None:
    """At least 40 cases, each with a working that comes to what it says."""
    calls = golden.calls()
    assert len(calls) >= 40
    assert len({call.name for call in calls}) == len(calls)
    assert all(call.worked_out() == call.usd for call in calls)
