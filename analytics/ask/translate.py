"""Makes the .sql beside each .kql, by the package duckdb-kql: `python -m analytics.ask.translate`.

The translations are kept, so asking needs neither that package nor its half a second, and what a new version of it
makes of a query is seen before it is used.
"""

from typing import Final

from analytics import prices
from analytics.ask.questions import DEFAULTS, QUERIES, questions
from analytics.columns import SCHEMA
from analytics.table import NAME

_TABLES: Final = {NAME: SCHEMA.names, prices.TABLE: prices.SCHEMA.names}


def sql(kql: str) -> str:
    """The query in DuckDB's SQL, with parameters by their own names. Raises what duckdb-kql raises."""
    import duckdb_kql

    translated = duckdb_kql.to_sql(kql, schema=_TABLES)
    text = str(translated)
    for number, name in enumerate(DEFAULTS):
        text = text.replace(f"$kqlp{number}", f"${name}")
    assert len(translated.parameters) == len(DEFAULTS), "every question has since and until, and no other parameter"
    return text + "\n"


def main() -> None:
    """Write the files anew."""
    for question in questions().values():
        (QUERIES / f"{question.name}.sql").write_text(sql(question.kql))


if __name__ == "__main__":
    main()
