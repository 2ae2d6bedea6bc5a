"""Prints the tables that price calls, or the calls that have no price.

    python -m analytics.prices [Rates|Deployments|Budgets] [--prices FILE] [--deployments FILE] [--budgets FILE]
    python -m analytics.prices --check --table DIR|URL [--since 2026-11-01] [--until …] [--prices FILE] …

Without --check: a table as CSV, for another engine. With it: the calls of a table that have no price, by what is
missing. Exits with 0 if every call has one, with 1 if some have none, with 2 if it cannot tell: an error in a CSV, a
table that cannot be read.
"""

import argparse
import csv
import sys
from datetime import UTC, datetime

from analytics.ask.__main__ import as_table, moment, show
from analytics.ask.questions import DEFAULTS
from analytics.prices import budgets, deployments, rates
from analytics.prices.books import add_books, books_of
from analytics.prices.check import unpriced


def main() -> None:
    """Print, and exit."""
    parser = argparse.ArgumentParser(prog="python -m analytics.prices", description="What calls are priced by.")
    names = (rates.NAME, deployments.NAME, budgets.NAME)
    parser.add_argument("name", nargs="?", choices=names, default=rates.NAME, help="the table to print as CSV")
    parser.add_argument("--check", action="store_true", help="say which calls have no price, and why")
    parser.add_argument("--table", help="with --check: directory, or URL that fsspec supports")
    parser.add_argument("--since", type=moment, default=DEFAULTS["since"], help="UTC; calls that ended then or later")
    parser.add_argument("--until", type=moment, default=DEFAULTS["until"], help="UTC; calls that ended before")
    add_books(parser)
    options = parser.parse_args()
    if options.check and not options.table:
        parser.error("--check needs --table")
    try:
        if options.check:
            found = unpriced(options.table, books_of(options), options.since, options.until)
        else:
            _print(books_of(options).tables()[options.name].to_pylist())
            return
    except (OSError, ValueError) as fault:
        print(f"{type(fault).__name__}: {fault}", file=sys.stderr)
        sys.exit(2)
    if found.num_rows:
        show(as_table(found))
    sys.exit(1 if found.num_rows else 0)


def _print(rows: list[dict[str, object]]) -> None:
    # quoted texts tell engines '' from null
    writer = csv.writer(sys.stdout, quoting=csv.QUOTE_STRINGS, lineterminator="\n")
    for number, row in enumerate(rows):
        if number == 0:
            writer.writerow(row)
        writer.writerow(map(_cell, row.values()))


def _cell(value: object) -> object:
    return value.replace(tzinfo=UTC).isoformat() if isinstance(value, datetime) else value


if __name__ == "__main__":
    main()
