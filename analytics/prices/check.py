"""Finds the calls of a table that have no price, and says why."""

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from analytics.folder import folder
from analytics.prices import rates
from analytics.prices.books import Books, use
from analytics.table import connect, query

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_QUERY: Final = """
SELECT price_model AS model, price_type AS type, price_region AS region, price_tier AS tier, price_variant AS variant,
    unpriced, count(*) AS calls, arg_min(id, timestamp) AS example
FROM Costs
WHERE unpriced <> '' AND timestamp >= $since AND timestamp < $until
GROUP BY ALL
"""
_PRICES: Final = "SELECT * FROM Rates WHERE " + " AND ".join(f"{name} = ${name}" for name in rates.KEYS)  # noqa: S608
_KNOWN: Final = "SELECT count(*) > 0 FROM Rates WHERE model = $model"


def unpriced(place: str, books: Books, since: datetime, until: datetime) -> pa.Table:
    """Rows of model, missing, calls and example (an id), the most calls first. Raises OSError, ValueError."""
    table = folder(place)
    found: dict[tuple[str, str], dict[str, Any]] = {}
    with connect(table) as connection:
        use(connection, books)
        for row in query(connection, table, _QUERY, {"since": since, "until": until}).to_pylist():
            missing = _missing(connection, row)
            group = found.setdefault((row["model"], missing), {"calls": 0, "example": row["example"]})
            group["calls"] += row["calls"]
    rows = [{"model": model, "missing": missing, **group} for (model, missing), group in found.items()]
    schema = [("model", pa.string()), ("missing", pa.string()), ("calls", pa.int64()), ("example", pa.string())]
    rows.sort(key=lambda row: (-row["calls"], row["model"], row["missing"]))
    return pa.Table.from_pylist(rows, schema=pa.schema(schema))


def _missing(connection: "DuckDBPyConnection", row: dict[str, Any]) -> str:
    """What has no price, where; and from when on it has one."""
    if row["unpriced"] == "usage":
        return "the usage: upstream reported none"
    ((known,),) = connection.sql(_KNOWN, params={"model": row["model"]}).fetchall()
    if not known:
        return "the model: no prices are known"
    whats, keys = row["unpriced"].split(), {name: row[name] for name in rates.KEYS}
    place = ", ".join(f"{name} {value}" for name, value in keys.items() if value and name != "model")
    same = connection.sql(_PRICES, params=keys).to_arrow_table().to_pylist()
    days = [row["valid_from"] for row in same if all(row[f"usd_{what}"] is not None for what in whats)]
    before = f", before {min(days):%Y-%m-%d}" if days else ""
    return f"{', '.join(whats)} ({place}{before})"
