"""The Spark job's transformation, in Spark: the same rows as the consumer's from the same events.

Spark (with Java 17) is too large to install with the rest: a virtual environment in .cache/spark has the version that
spark/requirements.txt pins. If it cannot be installed, the tests are skipped; with CI=true they fail.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from analytics.columns import SCHEMA
from analytics.rows import parse, table_of
from tests.analytics.kit import ROOT, START, call_id, line
from tests.kit.uv import SYSTEM_CERTS

PINNED = Path(__file__).parent / "spark/requirements.txt"
CACHE = ROOT / ".cache/spark"
RECORDS = (Path(__file__).parent / "records/v1.jsonl").read_bytes().splitlines()
FETCHED = [
    line(number, START + timedelta(hours=number - 20), operation="fetch_response", response_id="resp_1")
    for number in (23, 22, 21)
]
"""Three fetches of one response, the latest first."""
pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def python() -> Path:
    """A Python with Spark installed."""
    program, used = CACHE / "bin/python", CACHE / "requirements.txt"
    try:
        subprocess.run(["java", "-version"], check=True, capture_output=True)
        if not used.exists() or used.read_bytes() != PINNED.read_bytes():
            shutil.rmtree(CACHE, ignore_errors=True)
            uv: list[str | Path] = [sys.executable, "-m", "uv"]
            env = os.environ | SYSTEM_CERTS
            subprocess.run([*uv, "venv", "-q", "--python", sys.executable, CACHE], check=True, timeout=60, env=env)
            install = [*uv, "pip", "install", "-q", "--python", program, "-r", PINNED]
            subprocess.run(install, check=True, timeout=500, env=env)
            shutil.copy(PINNED, used)
    except (OSError, subprocess.SubprocessError) as fault:
        missing = f"Spark needs Java 17 and a package index: {fault}"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return program


@pytest.fixture(scope="module")
def ran(python: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """The table's folder, and the job's output: the columns, then the rows."""
    directory = tmp_path_factory.mktemp("spark")
    interrupted = line(7, status="interrupted", content="", usage=None, latency_ms=None)
    batches = [
        [*RECORDS, line(1), line(2, weather=["fine"], caller={"cost_center": "12"}), interrupted],
        [line(20, response_id="resp_1", usage=None, usage_source="pending"), *FETCHED],
        [line(1), line(7), line(3), b"{", b'{"type": "completion"}', line(4, timestamp="yesterday"), line(2)],
    ]
    (directory / "events").mkdir()
    for number, batch in enumerate(batches):
        enqueued = f"2024-11-13T{8 + number:02}:00:00Z"
        events = [json.dumps({"body": base64.b64encode(body).decode(), "enqueued": enqueued}) for body in batch]
        file = directory / f"events/{number}.json"
        file.write_text("\n".join(events))
        os.utime(file, (number, number))  # Spark reads files in the order of their times
    ended = subprocess.run(
        [python, Path(__file__).parent / "spark/run.py", directory / "events", directory / "table"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYSPARK_PYTHON": str(python), "TZ": "America/New_York"},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    return directory / "table", [json.loads(text) for text in ended.stdout.splitlines()]


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row without nulls, with times as text and JSON parsed."""
    found = {}
    for name, value in row.items():
        if value is None or name in ("day", "hour"):
            continue
        if name in ("timestamp", "started_at"):
            found[name] = str(value)[:19].replace(" ", "T")
        elif isinstance(value, str) and value[:1] in ("[", "{"):
            found[name] = json.loads(value)
        else:
            found[name] = value
    return found


def test_rows_equal_the_consumers(ran: tuple[Path, list[dict[str, Any]]]) -> None:
    """Repeats dropped, the finished record kept, every column with the same value."""
    bodies = [*RECORDS, line(1), line(2, weather=["fine"], caller={"cost_center": "12"}), line(7), line(3)]
    expected = {row["id"]: plain(row) for row in table_of([parse(body) for body in bodies]).to_pylist()}
    found = [row for row in ran[1][1:] if row["response_id"] != "resp_1"]
    assert len(found) == len(expected)
    for row in found:
        # Spark does not put the operator's own caller fields into `more`
        assert plain(row) | {"more": ""} == expected[row["id"]] | {"more": ""}
    (newer,) = (json.loads(row["more"]) for row in found if "weather" in row["more"])
    assert newer == {"weather": ["fine"]}


def test_a_response_counts_once(ran: tuple[Path, list[dict[str, Any]]]) -> None:
    """With the earliest record that reports its usage, as in the consumer's table."""
    rows = [row for row in ran[1][1:] if row["response_id"] == "resp_1"]
    assert len(rows) == 4
    assert [row["id"] for row in rows if row.get("total_tokens") is not None] == [call_id(21)]


def test_columns_equal_the_consumers(ran: tuple[Path, list[dict[str, Any]]]) -> None:
    """Names and types are the table's, in folders by day and hour."""
    table, (printed, *_) = ran
    types = {"string": "string", "int64": "bigint", "bool": "boolean", "timestamp[us, tz=UTC]": "timestamp"}
    assert {name: printed["types"][name] for name in SCHEMA.names} == {
        field.name: types[str(field.type)] for field in SCHEMA
    }
    assert set(printed["columns"]) == {*SCHEMA.names, "day", "hour"}
    assert list(table.glob("day=2024-11-13/hour=06/*.parquet"))


def test_invalid_events_are_set_aside(ran: tuple[Path, list[dict[str, Any]]]) -> None:
    """Each with its reason."""
    files = ran[0].glob("_set_aside/*.json")
    found = [json.loads(text)["reason"] for file in files for text in file.read_text().splitlines()]
    assert len(found) == 3
    assert sorted(reason.partition(" ")[0] for reason in found) == ["missing", "not", "timestamp"]
