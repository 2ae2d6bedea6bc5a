"""Compares API Management's own log of model calls with the table, over a period.

    python -m analytics.reconcile --table DIR|URL --export FILE [--since 2026-12-01] [--until …] [--json]
    python -m analytics.reconcile --table DIR|URL --workspace ID …

Prints a line for each call that one of the two lacks, or whose token counts differ, and a summary. Exit status: 0 if
they agree, 1 if not, 2 if one could not be read. docs/llm-log.md says what each has.
"""

import argparse
import dataclasses
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import orjson
from rich.console import Console
from rich.table import Table

from analytics.reconcile.compare import MARGIN, Comparison, compare, recorded
from analytics.reconcile.log import Logged, asked, exported

LATE: Final = timedelta(minutes=15)
"""How long a log entry may take to arrive: younger calls are left out."""

WORDS: Final = {
    "only_logged": "in API Management's log, no record",
    "only_recorded": "a record, not in API Management's log",
    "tokens": "token counts differ",
}


def main() -> int:
    """Print the comparison."""
    now = datetime.now(UTC).replace(tzinfo=None)
    parser = argparse.ArgumentParser(
        prog="python -m analytics.reconcile", description="Compares API Management's log of model calls with the table."
    )
    parser.add_argument("--table", required=True, help="directory, or URL that fsspec supports")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--export", type=Path, metavar="FILE", help="the log as JSON or CSV")
    source.add_argument("--workspace", metavar="ID", help="customer id of the Log Analytics workspace, asked as you")
    parser.add_argument("--since", type=_moment, default=now - timedelta(days=1), help="UTC; default a day ago")
    parser.add_argument("--until", type=_moment, default=now - LATE, help="UTC; default 15 minutes ago")
    parser.add_argument("--tolerance", type=int, default=0, metavar="N", help="tokens that counts may lie apart")
    parser.add_argument("--json", action="store_true", help="print one JSON object per difference, then the summary")
    options = parser.parse_args()
    since, until = options.since, options.until
    try:
        logged = exported(options.export) if options.export else _of_workspace(options.workspace, since, until)
        records = recorded(options.table, since - MARGIN, until + MARGIN)
    except Exception as fault:  # AzureError is not imported for an export
        if not isinstance(fault, OSError | ValueError) and not type(fault).__module__.startswith("azure."):
            raise
        print(f"{type(fault).__name__}: {fault}", file=sys.stderr)
        return 2
    found = compare(logged, records, since, until, options.tolerance)
    _print_json(found) if options.json else _print(found)
    return int(bool(found.differences))


def _of_workspace(workspace: str, since: datetime, until: datetime) -> list[Logged]:
    from azure.identity import DefaultAzureCredential

    return asked(workspace, since - MARGIN, until + MARGIN, DefaultAzureCredential())


def _print_json(found: Comparison) -> None:
    for difference in found.differences:
        print(orjson.dumps(difference, option=orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC).decode())
    summary = {**dataclasses.asdict(found), "differences": _counts(found)}
    print(orjson.dumps(summary).decode())


def _print(found: Comparison) -> None:
    console = Console(width=None if sys.stdout.isatty() else 10_000, highlight=False)
    if found.differences:
        table = Table("at", "what", "request", "record", "operation", "model", "status", "logged", "recorded", box=None)
        for one in found.differences:
            at, tokens = one.at.isoformat(sep=" ", timespec="seconds"), (one.logged_tokens, one.recorded_tokens)
            ids = (one.gateway_request_id, one.record_id)
            table.add_row(at, one.what, *ids, one.operation, one.model, one.status, *map(_pair, tokens))
        console.print(table, soft_wrap=not console.is_terminal)
    console.print(f"{found.logged} logged, {found.recorded} recorded, {found.both} in both")
    for what, count in _counts(found).items():
        console.print(f"{count} {WORDS[what]}")
    if found.unpaired:
        console.print(f"{found.unpaired} records without API Management's id were not compared")


def _counts(found: Comparison) -> dict[str, int]:
    return dict(sorted(Counter(one.what for one in found.differences).items()))


def _pair(tokens: tuple[int | None, int | None]) -> str:
    return "" if tokens == (None, None) else " + ".join(str(count or 0) for count in tokens)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


if __name__ == "__main__":
    sys.exit(main())
