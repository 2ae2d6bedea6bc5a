"""A view: all that the page shows of a selection of calls, in one answer."""

from datetime import datetime, timedelta
from typing import Any, Final

from analytics.dashboard.held import Held, Row
from analytics.dashboard.selection import EARLIEST, LATEST, Selection

PAGE: Final = 100
"""Calls that are listed at once."""
_MOST_BINS: Final = 90
_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_BINS: Final = (
    *(1, 2, 5, 10, 30),
    *(minutes * _MINUTE for minutes in (1, 2, 5, 10, 30)),
    *(hours * _HOUR for hours in (1, 2, 6, 12)),
    *(days * _DAY for days in (1, 2, 7, 28, 364)),
)


def view(held: Held, selection: Selection, now: datetime) -> dict[str, Any]:
    """Numbers, charts, choices and the latest calls of a selection. Raises duckdb.Error."""
    table = held.rows("table", {})[0]
    since, before = _bounds(selection, table, now)
    bin_s = next((size for size in _BINS if (before - since).total_seconds() <= size * _MOST_BINS), _BINS[-1])
    return {
        "table": table,
        "since": since,
        "before": before,
        "bin_seconds": bin_s,
        "totals": held.rows("totals", selection.parameters)[0],
        "over_time": held.rows("over_time", selection.parameters | {"bin_us": bin_s * 1_000_000}),
        "by_region": held.rows("by_region", selection.parameters),
        "by_caller": held.rows("by_caller", selection.parameters | {"by": selection.caller_field}),
        "choices": held.rows("choices", selection.time),
        "calls": calls(held, selection),
    }


def calls(held: Held, selection: Selection, last_at: datetime | None = None, last_id: str | None = None) -> list[Row]:
    """The latest calls, or those that come after one of them in that order. Raises duckdb.Error."""
    page = {"last_at": last_at, "last_id": last_id, "limit": PAGE}
    return held.rows("recent", selection.parameters | page)


def _bounds(selection: Selection, table: Row, now: datetime) -> tuple[datetime, datetime]:
    """From when to when the charts reach: where the selection is open, as far as there are calls."""
    since, before = selection.since, selection.before
    if before == LATEST:
        before = now if since != EARLIEST else (table["last"] or now)
    if since == EARLIEST:
        since = table["first"] or before - timedelta(hours=1)
    return since, max(before, since + timedelta(seconds=1))
