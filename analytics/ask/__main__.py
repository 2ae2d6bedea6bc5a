"""Runs a prepared query over the table.

    python -m analytics.ask --list
    python -m analytics.ask NAME --table DIR|URL [--json] [--since 2024-11-13] [--until …] [--by FIELD]
    python -m analytics.ask spend --table DIR|URL --by product --month 2026-11 --budgets FILE

Prints the result as a table, or as one JSON object per row. --by groups by a field of the caller, any that records
have. --prices, --deployments and --budgets are CSVs of your own (analytics/prices). With --app-insights, the resource
id of Application Insights, each trace id links to its trace in the portal.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

import orjson
import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analytics.ask.questions import CALLER, CALLER_FIELDS, DEFAULTS, FIELD, Question, questions
from analytics.folder import folder
from analytics.prices.books import Books, add_books, books_of, use
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
        "--since", type=moment, default=DEFAULTS["since"], help="UTC; calls that ended at this time or later"
    )
    parser.add_argument(
        "--until", type=moment, default=DEFAULTS["until"], help="UTC; calls that ended before this time"
    )
    parser.add_argument("--month", type=_month, metavar="2026-11", help="instead of --since and --until")
    parser.add_argument("--by", type=_field, metavar="FIELD", help="group by a field of the caller, such as product")
    add_books(parser)
    parser.add_argument("--app-insights", metavar="ID", help="resource id, for links to traces")
    options = parser.parse_args()
    if options.list:
        listing = Table("name", "question", box=None, header_style="bold")
        for question in questions().values():
            listing.add_row(question.name, question.words)
        show(listing)
        return
    if options.name is None or options.table is None:
        parser.error("NAME and --table are required, or --list")
    try:
        since, until = options.month or (options.since, options.until)
        bounds, books = {"since": since, "until": until}, books_of(options)
        rows = answer(Question(options.name), options.table, bounds, books, options.by)
    except (OSError, ValueError) as fault:
        sys.exit(f"{type(fault).__name__}: {fault}")
    if options.json:
        for row in with_trace_links(rows.to_pylist(), options.app_insights):
            print(orjson.dumps(row, option=orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z).decode())
    else:
        show(as_table(rows, options.app_insights))


def answer(
    question: Question,
    place: str,
    bounds: Mapping[str, datetime] = DEFAULTS,
    books: Books | None = None,
    by: str | None = None,
) -> pa.Table:
    """The rows that answer a question, from the table at a path or URL.

    Grouped by a caller field, the column `caller` replaces the question's own columns of callers. Raises OSError;
    ValueError for an error in a CSV, and for a question that cannot be grouped.
    """
    if by and question.field is None:
        raise ValueError(f"{question.name} cannot be grouped by a caller's field")
    by = by or question.field
    parameters = bounds if by is None else {**bounds, FIELD: by}
    table = folder(place)
    with connect(table) as connection:
        if question.priced:
            use(connection, books or Books())
        rows = query(connection, table, question.sql, parameters)
    unused = CALLER_FIELDS if by else (CALLER,)
    return rows.drop_columns([name for name in rows.column_names if by is not None and name in unused])


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


def show(table: Table) -> None:
    """Print a table; neither wrapped nor truncated where output goes to a pipe."""
    console = Console(width=None if sys.stdout.isatty() else 10_000, highlight=False)
    console.print(table, soft_wrap=not console.is_terminal)


def moment(text: str) -> datetime:
    """A time in UTC without a zone, from ISO 8601."""
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _month(text: str) -> tuple[datetime, datetime]:
    since = datetime.strptime(text, "%Y-%m")
    return since, (since + timedelta(days=31)).replace(day=1)


def _field(text: str) -> str:
    if not re.fullmatch(r"\w{1,64}", text):
        raise ValueError(text)
    return text


if __name__ == "__main__":
    main()
