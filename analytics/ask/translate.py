"""Translates each .kql to .sql with the package duckdb-kql: `python -m analytics.ask.translate`.

The translations are committed, so a query needs neither that package nor the half second it takes, and a new version's
translation shows up in review before it is used.
"""

from typing import Final

from analytics.ask.questions import DEFAULTS, FIELD, QUERIES, questions
from analytics.columns import SCHEMA
from analytics.prices import budgets, cost, deployments, rates
from analytics.table import NAME

TABLES: Final = {
    NAME: SCHEMA.names,
    cost.NAME: [*cost.COLUMNS],
    **{table.NAME: table.SCHEMA.names for table in (rates, deployments, budgets)},
}
"""What questions read, by name: the columns."""
_BY_NAME: Final = ("caller[field]", "caller.of_a_field")
_BY_VALUE: Final = ("'$.caller.of_a_field'", "'$.caller.\"' || coalesce(nullif($field, ''), '-') || '\"'")
"""duckdb-kql takes a member whose name is a parameter for one of an array, so it gets a name that is then replaced."""


def sql(kql: str) -> str:
    """The query in DuckDB's SQL, with its parameters by name. Raises duckdb-kql's errors."""
    import duckdb_kql

    translated = duckdb_kql.to_sql(kql.replace(*_BY_NAME), schema=TABLES)
    text = str(translated).replace(*_BY_VALUE)
    for number, name in enumerate((*DEFAULTS, FIELD)):
        text = text.replace(f"$kqlp{number}", f"${name}")
    expected = [*DEFAULTS.values()]
    assert [*translated.parameters.values()][:2] == expected, "every question has the parameters since and until"
    assert len(translated.parameters) == len(DEFAULTS) + (f"{FIELD}: string" in kql)
    return text + "\n"


def main() -> None:
    """Write the .sql files."""
    for question in questions().values():
        (QUERIES / f"{question.name}.sql").write_text(sql(question.kql))


if __name__ == "__main__":
    main()
