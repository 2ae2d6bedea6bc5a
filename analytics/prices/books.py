"""The CSVs of an operator, prices, deployments and budgets, and the tables and the view that DuckDB has of them."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from analytics.prices import budgets, cost, deployments, rates, views
from analytics.prices.dialects import Sql

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True, slots=True)
class Books:
    """Where the CSVs are; None for none."""

    prices: Path | None = None
    deployments: Path | None = None
    budgets: Path | None = None

    def tables(self) -> dict[str, pa.Table]:
        """The tables, by name. Raises ValueError that names the line and column of what is wrong; OSError."""
        return {
            rates.NAME: rates.table(self.prices),
            deployments.NAME: deployments.table(self.deployments),
            budgets.NAME: budgets.table(self.budgets),
        }


def use(connection: "DuckDBPyConnection", books: Books) -> None:
    """Give a connection that has the view `Calls` the view `Costs`, and the tables of prices. Raises as `tables`."""
    for name, table in books.tables().items():
        connection.register(name, table)
    connection.execute(f"CREATE OR REPLACE VIEW {cost.NAME} AS {views.sql(Sql())}")


def add_books(parser: argparse.ArgumentParser) -> None:
    """The options --prices, --deployments and --budgets."""
    parser.add_argument("--prices", type=Path, metavar="FILE", help="CSV of your own prices")
    parser.add_argument("--deployments", type=Path, metavar="FILE", help="CSV of the deployments' types and hours")
    parser.add_argument("--budgets", type=Path, metavar="FILE", help="CSV of the callers' budgets")


def books_of(options: argparse.Namespace) -> Books:
    """The CSVs that these options name."""
    return Books(options.prices, options.deployments, options.budgets)
