"""The view `Costs`, from the steps in cost.py, in the languages of the engines."""
# ruff: noqa: S608, of constants only

from collections.abc import Iterable

from analytics.prices.cost import BILL, COLUMNS, FIND_RATES, FOUND, PROMPT_LENGTH, SITUATION, WITHIN, Extend, Step
from analytics.prices.dialects import Dialect, Kql, Sql
from analytics.table import NAME as CALLS
from analytics.table import ROWS


def sql(dialect: Sql, rows: str = ROWS, calls: str = CALLS, columns: Iterable[str] = COLUMNS) -> str:
    """The query over a table of calls, `Rates` and `Deployments`, a line a step.

    `rows` has the situations of all the calls; `columns` may name others that the table of calls has.
    """
    same = " AND ".join(f"c.{name} IS NOT DISTINCT FROM r.{name}" for name in SITUATION)
    around = " AND ".join(f"c.{name} >= r.{since} AND c.{name} < r.{until}" for name, (since, until) in WITHIN.items())
    (unknown, _), *_ = WITHIN.values()
    mine = f"{same} AND (r.{unknown} IS NULL OR ({around}))"
    found = ", ".join(f"r.{name}" for name in FOUND)
    queries = {"situations": f"SELECT DISTINCT {', '.join(SITUATION)} FROM {rows}"}
    for step in FIND_RATES:
        queries[f"step{len(queries)}"] = _sql(step, [*queries][-1], dialect)
    rated = [*queries][-1]
    queries["calls"] = _sql(PROMPT_LENGTH, calls, dialect)
    queries["rated"] = f"SELECT c.*, {found} FROM calls AS c LEFT JOIN {rated} AS r ON {mine}"
    for step in BILL:
        queries[f"step{len(queries)}"] = _sql(step, [*queries][-1], dialect)
    steps = ",\n".join(f"{name} AS ({query})" for name, query in queries.items())
    return f"WITH {steps}\nSELECT {', '.join(columns)} FROM {[*queries][-1]}"


def _sql(step: Step, before: str, dialect: Dialect) -> str:
    if isinstance(step, Extend):
        added = ", ".join(f"{expression(dialect)} AS {name}" for name, expression in step.columns.items())
        return f"SELECT *, {added} FROM {before}"
    found = ", ".join(sorted({*step.on.values(), *step.take.values()}))
    only = f" WHERE {step.empty} = ''" if step.empty else ""
    tests = " AND ".join(f"c.{name} = t.{of}" for name, of in step.on.items())
    taken = ", ".join(f"t.{of} AS {name}" for name, of in step.take.items())
    table = f"(SELECT {'DISTINCT ' if step.unique else ''}{found} FROM {step.table}{only})"
    return f"SELECT c.*, {taken} FROM {before} AS c LEFT JOIN {table} AS t ON {tests}"


def kql() -> str:
    """The query over `Calls`, `Rates` and `Deployments`, a line an operator."""
    around = [f"{name} >= {since} and {name} < {until}" for name, (since, until) in WITHIN.items()]
    (since, _), *_ = WITHIN.values()
    rated = [f"{ROWS} | distinct {', '.join(SITUATION)}", *map(_kql, FIND_RATES)]
    calls = [
        CALLS,
        _kql(PROMPT_LENGTH),
        f"lookup kind=leftouter rated on {', '.join(SITUATION)}",
        f"where isnull({since}) or ({' and '.join(around)})",
        *map(_kql, BILL),
        f"project {', '.join(COLUMNS)}",
    ]
    rated.append(f"project {', '.join((*SITUATION, *FOUND))}")
    return f"let rated = {_lines(rated)};\n    {_lines(calls)}"


def _lines(operators: list[str]) -> str:
    return "\n    | ".join(operators)


def _kql(step: Step) -> str:
    if isinstance(step, Extend):
        return "extend " + ", ".join(f"{name} = {expression(Kql())}" for name, expression in step.columns.items())
    names = {**step.on, **step.take}
    columns = ", ".join(name if name == of else f"{name} = {of}" for name, of in names.items())
    only = f'| where {step.empty} == "" ' if step.empty else ""
    unique = f"| distinct {', '.join(dict.fromkeys(names.values()))} " if step.unique else ""
    return f"lookup kind=leftouter ({step.table} {only}{unique}| project {columns}) on {', '.join(step.on)}"
