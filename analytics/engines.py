"""Generates the schemas and queries of other engines from the table's columns: `python -m analytics.engines`.

    spark/rows.sql              Spark SQL: from an event's JSON to a row
    spark/calls.sql             Spark SQL: the view for queries
    spark/costs.sql             Spark SQL: the view with what calls cost
    adx/schema.kql              Azure Data Explorer and Fabric: tables, ingestion and views
    stream_analytics/query.sql  Stream Analytics: the same rows

Each is its .template with the columns filled in, so that a new column appears in all of them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import pyarrow as pa

from analytics.columns import COLUMNS, Column, Kind, kql_schema
from analytics.columns import Path as Field
from analytics.counted import COUNTED
from analytics.prices import budgets, deployments, rates, views
from analytics.prices.dialects import SparkSql
from analytics.rows import FIXED
from analytics.table import NAME as CALLS

HERE: Final = Path(__file__).parent
_KQL_COUNTED: Final = {**dict.fromkeys(COUNTED, "long(null)"), "units": '""'}
_STATED: Final = [column for column in COLUMNS if column.name != "more"]


def texts() -> dict[Path, str]:
    """Every generated file, with its text."""
    return {
        HERE / "spark/rows.sql": _filled("spark/rows.sql", {"schema": _spark_schema(), "columns": _each(_spark)}),
        HERE / "spark/calls.sql": _filled("spark/calls.sql", {"counted": ",\n    ".join(map(_spark_counted, COLUMNS))}),
        HERE / "spark/costs.sql": _filled(
            "spark/costs.sql",
            {**_tables("spark"), "costs": views.sql(SparkSql(), CALLS)},
        ),
        HERE / "adx/schema.kql": _filled(
            "adx/schema.kql",
            {
                "schema": kql_schema(),
                "columns": _each(_kql),
                "costs": views.kql(),
                **_tables("kql"),
                "counted": ",\n    ".join(
                    f"{name} = iff(counts, {name}, {none})" for name, none in _KQL_COUNTED.items()
                ),
            },
        ),
        HERE / "stream_analytics/query.sql": _filled(
            "stream_analytics/query.sql",
            {"columns": _each(_stream_analytics), "listed": ", ".join(f"[{column.name}]" for column in _STATED)},
        ),
    }


def _filled(name: str, parts: dict[str, str]) -> str:
    text = (HERE / f"{name}.template").read_text()
    fixed = {"fixed": ", ".join(f"'{field}'" for field in (*FIXED, "prompt"))}
    known = {"known": ", ".join(f"'{field}'" for field in sorted({column.paths[0][0] for column in _STATED}))}
    names = {"names": ", ".join(column.name for column in COLUMNS)}
    for part, value in (parts | fixed | known | names).items():
        text = text.replace(f"{{{{{part}}}}}", value)
    return text


def declared(schema: pa.Schema, language: Literal["kql", "spark"]) -> str:
    """A table's columns as an engine declares them."""
    separator = {"kql": ": ", "spark": " "}[language]
    types = {kind.arrow: getattr(kind, language) for kind in (Kind.TEXT, Kind.COUNT, Kind.FLAG)}
    types[pa.timestamp("us")] = getattr(Kind.MOMENT, language)
    types[pa.float64()] = {"kql": "real", "spark": "DOUBLE"}[language]
    return ", ".join(f"{field.name}{separator}{types[field.type]}" for field in schema)


def _tables(language: Literal["kql", "spark"]) -> dict[str, str]:
    tables = {"rates": rates.SCHEMA, "deployments": deployments.SCHEMA, "budgets": budgets.SCHEMA}
    return {name: declared(schema, language) for name, schema in tables.items()}


def _each(expression: Callable[[Column], str]) -> str:
    return ",\n    ".join(expression(column) for column in _STATED)


# Spark


def _spark_schema() -> str:
    """The record's schema for from_json: values nested deeper than the columns stay JSON text."""
    tree: dict[str, object] = {}
    for column in _STATED:
        for path in filter(_typed, column.paths):
            node = tree
            for name in path[:-1]:
                node = node.setdefault(name, {})  # type: ignore[assignment]
            node[path[-1]] = "ARRAY<STRING>" if column.kind is Kind.WORDS else _spark_type(column.kind)
    return _struct(tree, ", ")


def _typed(path: Field) -> bool:
    """Whether the schema has the field: what is within JSON text is read from that."""
    return not any(path[:-1] == above for column in _STATED if column.kind is Kind.JSON for above in column.paths)


def _spark_counted(column: Column) -> str:
    """The column in the view for queries."""
    if column.name not in (*COUNTED, "units"):
        return column.name
    none = "''" if column.name == "units" else "NULL"
    return f"CASE WHEN told_by <> id THEN {none} ELSE {column.name} END AS {column.name}"


def _spark_type(kind: Kind) -> str:
    return {Kind.MOMENT: "STRING", Kind.JSON: "VARIANT"}.get(kind, kind.spark)


def _struct(tree: dict[str, object], separator: str) -> str:
    return separator.join(
        f"{name} STRUCT<{_fields(below)}>" if isinstance(below, dict) else f"{name} {below}"
        for name, below in tree.items()
    )


def _fields(tree: dict[str, object]) -> str:
    return ", ".join(
        f"{name}: STRUCT<{_fields(below)}>" if isinstance(below, dict) else f"{name}: {below}"
        for name, below in tree.items()
    )


def _spark(column: Column) -> str:
    paths = ["r." + ".".join(path) for path in column.paths]
    found = f"coalesce({', '.join(paths)})" if len(paths) > 1 else paths[0]
    if not _typed(column.paths[0]):
        outer, name = column.paths[0]
        found = f"try_variant_get(r.{outer}, '$.{name}', 'string')"
    match column.kind:
        case Kind.MOMENT:
            found = f"try_to_timestamp(rtrim('Z', {found}))"
        case Kind.WORDS:
            found = f"coalesce(array_join({found}, ','), '')"
        case Kind.FLAG:
            found = f"coalesce({found}, {str(column.absent).lower()})"
        case Kind.TEXT:
            found = f"coalesce({found}, '')"
        case Kind.JSON:
            found = f"coalesce(nullif(to_json({found}), 'null'), '')"
    return f"{found} AS {column.name}"


# Azure Data Explorer


def _kql(column: Column) -> str:
    paths = ["record" + "".join(f".{name}" for name in path) for path in column.paths]
    convert = {Kind.MOMENT: "todatetime", Kind.COUNT: "tolong", Kind.FLAG: "tobool"}.get(column.kind, "tostring")
    found = [f"{convert}({path})" for path in paths]
    if column.kind is Kind.WORDS:
        found = [f'strcat_array({path}, ",")' for path in paths]
    if column.kind is Kind.FLAG:
        found.append(str(column.absent).lower())
    return f"{column.name} = coalesce({', '.join(found)})" if len(found) > 1 else f"{column.name} = {found[0]}"


# Stream Analytics


def _stream_analytics(column: Column) -> str:
    types = {Kind.MOMENT: "datetime", Kind.COUNT: "bigint", Kind.FLAG: "bit"}
    found = [f"TRY_CAST({_field(path)} AS {types.get(column.kind, 'nvarchar(max)')})" for path in column.paths]
    if column.kind in (Kind.WORDS, Kind.JSON):
        found = [f"udf.text({_field(path)})" for path in column.paths]
    if column.kind is Kind.FLAG:
        found.append(str(int(bool(column.absent))))
    if column.kind in (Kind.TEXT, Kind.WORDS, Kind.JSON):
        found.append("''")
    return f"COALESCE({', '.join(found)}) AS [{column.name}]" if len(found) > 1 else f"{found[0]} AS [{column.name}]"


def _field(path: Field) -> str:
    return "e" + "".join(f".[{name}]" for name in path)


def main() -> None:
    """Write the files."""
    for file, text in texts().items():
        file.write_text(text)


if __name__ == "__main__":
    main()
