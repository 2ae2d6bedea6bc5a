"""The record's contract over time: records of every version can be read, and no value is lost.

records/vN.jsonl holds records as version N wrote them. They never change; a new version gets its own file.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from analytics.columns import COLUMNS, Kind
from analytics.rows import parse, table_of
from exporters.record import FIXED, SCHEMA_VERSION
from tests.analytics.kit import ROOT
from tests.kit.hub import SCHEMA

WRITTEN = {
    int(path.stem[1:]): path.read_bytes().splitlines() for path in Path(__file__).parent.glob("records/v*.jsonl")
}
LINES = [pytest.param(line, id=f"v{version}-{n}") for version in WRITTEN for n, line in enumerate(WRITTEN[version])]


def test_every_version_has_sample_records() -> None:
    """From version 0, before versions were counted, to the current one; the changelog has an entry for each."""
    assert sorted(WRITTEN) == list(range(SCHEMA_VERSION + 1))
    listed = re.findall(r"^## Version (\d+)", (ROOT / "docs/record-changelog.md").read_text(), re.MULTILINE)
    assert sorted(map(int, listed)) == sorted(WRITTEN)
    for version, lines in WRITTEN.items():
        assert {json.loads(line).get("schema_version", 0) for line in lines} == {version}


@pytest.mark.parametrize("line", LINES)
def test_records_of_every_version_fit_the_schema(line: bytes) -> None:
    """Today's schema accepts what any version wrote: it may require more fields of newer records only."""
    SCHEMA.validate(json.loads(line))


@pytest.mark.parametrize("line", LINES)
def test_records_of_every_version_become_rows(line: bytes) -> None:
    """Each field's value is in its column, and every text of the record is somewhere in the row."""
    record = json.loads(line)
    (row,) = table_of([parse(line)]).to_pylist()
    for column in COLUMNS:
        found = [value for path in column.paths if (value := at(record, path)) is not None]
        if column.name not in ("id", "more") and found:
            assert as_recorded(row[column.name], column.kind) == (
                found[0] if column.kind is not Kind.MOMENT else found[0][:26]
            )
    leaves = set(texts(record))
    assert leaves <= set(texts({name: parsed(value) for name, value in row.items()}))
    assert set(FIXED) <= record.keys()


def test_no_column_is_removed() -> None:
    """Columns of every version keep their names and types, so that old queries run; the newest list has all of them."""
    today = [f"{column.name} {column.kind.kql}" for column in COLUMNS]
    for file in (Path(__file__).parent / "records").glob("v*.columns"):
        assert set(file.read_text().splitlines()) <= set(today)
    newest = Path(__file__).parent / f"records/v{SCHEMA_VERSION}.columns"
    assert set(today) == set(newest.read_text().splitlines())


def at(record: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        record = record.get(name) if isinstance(record, dict) else None
    return record


def as_recorded(value: Any, kind: Kind) -> Any:
    """A column's value as the record has it."""
    match kind:
        case Kind.JSON:
            return json.loads(value)
        case Kind.WORDS:
            return value.split(",")
        case Kind.MOMENT:
            return value.replace(tzinfo=None).isoformat(timespec="microseconds")
    return value


def parsed(value: Any) -> Any:
    """JSON text, parsed."""
    try:
        return json.loads(value) if isinstance(value, str) and value[:1] in '[{"' else value
    except ValueError:
        return value


def texts(value: Any) -> list[str]:
    """Every text in a value, except times."""
    match value:
        case str():
            return [] if re.match(r"\d{4}-\d\d-\d\dT", value) else [value]
        case dict():
            return [text for entry in value.values() for text in texts(entry)]
        case list():
            return [text for entry in value for text in texts(entry)]
    return []
