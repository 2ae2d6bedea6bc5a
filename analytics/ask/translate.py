"""Translates each .kql to .sql with the package duckdb-kql: `python -m analytics.ask.translate`.

The translations are committed, so a query needs neither that package nor the half second it takes, and a new version's
translation shows up in review before it is used.
"""

from typing import Final

from analytics.ask.questions import DEFAULTS, QUERIES, questions
from analytics.columns import SCHEMA
from analytics.prices import budgets, cost, deployments, rates
from analytics.table import NAME

TABLES: Final = {
    NAME: SCHEMA.names,
    cost.NAME: [*cost.COLUMNS],
    **{table.NAME: table.SCHEMA.names for table in (rates, deployments, budgets)},
}
"""What questions read, by name: the columns."""


def sql(kql: str) -> str:
    """The query in DuckDB's SQL, with its parameters by name. Raises duckdb-kql's errors."""
    import duckdb_kql

    translated = duckdb_kql.to_sql(kql, schema=TABLES)
    text = str(translated)
    for number, name in enumerate(DEFAULTS):
        text = text.replace(f"$kqlp{number}", f"${name}")
    assert len(translated.parameters) == len(DEFAULTS), "every question has the parameters since and until only"
    return text + "\n"


def main() -> None:
    """Write the .sql files."""
    for question in questions().values():
        (QUERIES / f"{question.name}.sql").write_text(sql(question.kql))


if __name__ == "__main__":
    main()
