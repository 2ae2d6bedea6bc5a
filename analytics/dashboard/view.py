"""A view: everything the page shows of a selection of calls."""

from datetime import datetime, timedelta
from typing import Any, Final

from analytics.dashboard.cache import CallCache, Row
from analytics.dashboard.selection import EARLIEST, LATEST, Selection

PAGE: Final = 100
"""Calls per page."""
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


def view(cache: CallCache, selection: Selection, now: datetime) -> dict[str, Any]:
    """Totals, charts, filter options and the latest calls of a selection. Raises duckdb.Error."""
    table = cache.rows("table", {})[0]
    since, before = _bounds(selection, table, now)
    bin_s = next((size for size in _BINS if (before - since).total_seconds() <= size * _MOST_BINS), _BINS[-1])
    return {
        "table": table,
        "since": since,
        "before": before,
        "bin_seconds": bin_s,
        "totals": cache.rows("totals", selection.parameters)[0],
        "over_time": cache.rows("over_time", selection.parameters | {"bin_us": bin_s * 1_000_000}),
        "by_region": cache.rows("by_region", selection.parameters),
        "by_caller": cache.rows("by_caller", selection.parameters | {"by": selection.caller_field}),
        "choices": cache.rows("choices", selection.time),
        "calls": calls(cache, selection),
    }


def calls(
    cache: CallCache, selection: Selection, last_at: datetime | None = None, last_id: str | None = None
) -> list[Row]:
    """The latest calls, newest first, or those after a given one. Raises duckdb.Error."""
    page = {"last_at": last_at, "last_id": last_id, "limit": PAGE}
    return cache.rows("recent", selection.parameters | page)


def _bounds(selection: Selection, table: Row, now: datetime) -> tuple[datetime, datetime]:
    """The charts' time range: the selection's; where that is open, the calls'."""
    since, before = selection.since, selection.before
    if before == LATEST:
        before = now if since != EARLIEST else (table["last"] or now)
    if since == EARLIEST:
        since = table["first"] or before - timedelta(hours=1)
    return since, max(before, since + timedelta(seconds=1))
