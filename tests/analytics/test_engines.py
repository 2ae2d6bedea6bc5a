"""Generated files for other engines: up to date with the columns, and valid KQL according to Microsoft's parser."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from analytics.ask.questions import Question, questions
from analytics.columns import COLUMNS, SCHEMA, kql_schema
from analytics.engines import HERE, texts
from analytics.prices import cost
from tests.analytics.test_ask import BOOKS
from tests.infra.kusto.parser import Report, parse
from tests.kit import npm

COMMANDS = re.findall(r"^\.(?:.|\n)*?(?=^//|^\.|\Z)", texts()[HERE / "adx/schema.kql"], re.MULTILINE)
ROWS = next(command for command in COMMANDS if "RowsOfRecords()" in command and command.startswith(".create"))
VIEWS = dict(
    re.findall(
        r"materialized-view (\w+) on table CallRecords \{(.*?)^\}",
        texts()[HERE / "adx/schema.kql"],
        re.MULTILINE | re.DOTALL,
    )
)
ROWS_OF_CALLS = f"let CallRows = {VIEWS['CallRows'].strip()};\n"
(CALLS,) = re.findall(r"Calls\(\) \{(.*?)^\}", texts()[HERE / "adx/schema.kql"], re.MULTILINE | re.DOTALL)
(COSTS,) = re.findall(r"Costs\(\) \{(.*?)^\}", texts()[HERE / "adx/schema.kql"], re.MULTILINE | re.DOTALL)
FUNCTIONS = f"{ROWS_OF_CALLS}let Calls = () {{{CALLS}}};\nlet Costs = () {{{COSTS}}};\n"
QUERIES = {
    "rows": ROWS.partition("{")[2].rpartition("}")[0],
    **VIEWS,
    "Calls": f"{ROWS_OF_CALLS}{CALLS}",
    "Costs": f"{ROWS_OF_CALLS}let Calls = () {{{CALLS}}};\n{COSTS}",
    **{f"ask {name}": f"{FUNCTIONS}{Question(name).kql}" for name in questions()},
}


@pytest.mark.parametrize("file", texts(), ids=lambda file: Path(file).name)
def test_generated_files_are_up_to_date(file: Path) -> None:
    """Each file is its template with the current columns."""
    assert file.read_text() == texts()[file], "run python -m analytics.engines"


def test_stream_analytics_has_every_column() -> None:
    """Each column except `more` is computed once, and written in the table's order."""
    text = texts()[HERE / "stream_analytics/query.sql"]
    stated = [column.name for column in COLUMNS if column.name != "more"]
    assert re.findall(r" AS \[(\w+)\]", text) == stated
    (written,) = re.findall(r"SELECT (\[.*)\nINTO \[table\]", text)
    assert re.findall(r"\[(\w+)\]", written) == stated


@pytest.fixture(scope="module")
def report() -> Report:
    rows = {name: kql_schema() for name in ("CallRecords", "CallRows", "Calls")}
    tables = {"RawRecords": "record: dynamic", **BOOKS, **rows}
    with npm.needed_for("Microsoft's parser of KQL"):
        # a query's parameters are declared before anything else
        queries = {
            name: re.sub(r"(let .*?;\n)(.*)(declare [^;]*;\n)", r"\3\1\2", text, flags=re.DOTALL)
            for name, text in QUERIES.items()
        }
        commands = {f"command {number}": command for number, command in enumerate(COMMANDS)}
        return parse(queries | commands | {"wrong": ".create-merge tabel X (a: string)"}, tables)
    raise AssertionError


@pytest.mark.heavy
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", [*QUERIES, *(f"command {number}" for number in range(len(COMMANDS)))])
def test_the_schema_is_valid(name: str, report: Report) -> None:
    """Commands, the update policy's function, the views, and every question over the view."""
    assert report[name]["faults"] == []


@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_the_function_returns_the_tables_columns(report: Report) -> None:
    """In their order, and the view for queries has all of them."""
    assert report["rows"]["columns"] == SCHEMA.names
    assert set(SCHEMA.names) < set(report["Calls"]["columns"])
    assert report["Costs"]["columns"] == [*cost.COLUMNS]
    assert report["wrong"]["faults"]


@pytest.mark.heavy
def test_stream_analytics_text() -> None:
    """The JavaScript function: strings joined by commas, other values as JSON, null as ''."""
    script = (HERE / "stream_analytics/text.js").read_text()
    values = [["stop", "length"], [{"a": 1}], {"b": [2]}, "x", None]
    with npm.needed_for("JavaScript"):
        ended = subprocess.run(
            ["node", "-e", f"{script};console.log(JSON.stringify({json.dumps(values)}.map(text)))"],
            capture_output=True,
            text=True,
            check=True,
        )
    assert json.loads(ended.stdout) == ["stop,length", '[{"a":1}]', '{"b":[2]}', '"x"', ""]
