"""Runs a prepared query over the table.

    python -m analytics.ask --list
    python -m analytics.ask NAME --table DIR|URL [--json] [--since 2024-11-13] [--until …] [--prices FILE]

Prints the result as a table, or as one JSON object per row. With --app-insights, the resource id of Application
Insights, each trace id links to its trace in the portal.
"""

import argparse
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import orjson
import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analytics import prices
from analytics.ask.questions import DEFAULTS, Question, questions
from analytics.folder import folder
from analytics.table import connect, query

_PORTAL: Final = "https://portal.azure.com/#view/Microsoft_OperationsManagementSuite_Workspace/Logs.ReactView"


def main() -> None:
    """Print the result; exit with 1 on an error."""
    parser = argparse.ArgumentParser(
        prog="python -m analytics.ask", description="Runs a prepared query over the table."
    )
    parser.add_argument("name", nargs="?", choices=[*questions()], metavar="NAME", help="a question, see --list")
    parser.add_argument("--list", action="store_true", help="list the questions")
    parser.add_argument("--table", help="directory, or URL that fsspec supports")
    parser.add_argument("--json", action="store_true", help="print one JSON object per row")
    parser.add_argument(
        "--since", type=_moment, default=DEFAULTS["since"], help="UTC; calls that ended at this time or later"
    )
    parser.add_argument(
        "--until", type=_moment, default=DEFAULTS["until"], help="UTC; calls that ended before this time"
    )
    parser.add_argument("--prices", type=Path, help="CSV of your own prices")
    parser.add_argument("--app-insights", metavar="ID", help="resource id, for links to traces")
    options = parser.parse_args()
    # output to a pipe is neither wrapped nor truncated
    console = Console(width=None if sys.stdout.isatty() else 10_000, highlight=False)
    if options.list:
        listing = Table("name", "question", box=None, header_style="bold")
        for question in questions().values():
            listing.add_row(question.name, question.words)
        _print(console, listing)
        return
    if options.name is None or options.table is None:
        parser.error("NAME and --table are required, or --list")
    try:
        bounds = {"since": options.since, "until": options.until}
        rows = answer(Question(options.name), options.table, bounds, options.prices)
    except (OSError, ValueError) as fault:
        sys.exit(f"{type(fault).__name__}: {fault}")
    if options.json:
        for row in with_trace_links(rows.to_pylist(), options.app_insights):
            print(orjson.dumps(row, option=orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z).decode())
    else:
        _print(console, as_table(rows, options.app_insights))


def answer(
    question: Question,
    place: str,
    bounds: Mapping[str, datetime] = DEFAULTS,
    own_prices: Path | None = None,
) -> pa.Table:
    """The rows that answer a question, from the table at a path or URL. Raises OSError; ValueError for bad prices."""
    table = folder(place)
    with connect(table) as connection:
        connection.register(prices.TABLE, prices.table(own_prices))
        return query(connection, table, question.sql, bounds)


def with_trace_links(rows: Iterable[dict[str, Any]], app_insights: str | None) -> list[dict[str, Any]]:
    """The rows, with a `trace_url` if they have a trace id and the resource is known."""
    if not app_insights:
        return list(rows)
    return [
        row | ({"trace_url": trace_url(app_insights, row["trace_id"])} if row.get("trace_id") else {}) for row in rows
    ]


def trace_url(app_insights: str, trace_id: str) -> str:
    """The portal's address of everything Application Insights has of a trace."""
    kql = f'union requests, dependencies, traces | where operation_Id == "{trace_id}" | order by timestamp asc'
    place = f"resourceId/{quote(app_insights, '')}/source/LogsBlade.AnalyticsShareLinkToQuery"
    return f"{_PORTAL}/{place}/query/{quote(kql, '')}"


def as_table(rows: pa.Table, app_insights: str | None = None) -> Table:
    """The rows as a table for the terminal."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for field in rows.schema:
        number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_decimal(field.type)
        table.add_column(field.name, justify="right" if number else "left", overflow="fold")
    for row in rows.to_pylist():
        cells = [Text(_cell(value)) for value in row.values()]
        if app_insights and row.get("trace_id"):
            cells[[*row].index("trace_id")].stylize(f"link {trace_url(app_insights, row['trace_id'])}")
        table.add_row(*cells)
    return table


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case datetime():
            return value.isoformat(sep=" ", timespec="seconds")
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.4f}".rstrip("0").rstrip(".")
    return str(value)


def _print(console: Console, table: Table) -> None:
    console.print(table, soft_wrap=not console.is_terminal)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


if __name__ == "__main__":
    main()
