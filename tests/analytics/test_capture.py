"""Files as Event Hubs Capture writes them become rows of the table."""

from collections.abc import Iterable
from pathlib import Path

import fastavro
import pytest

from tests.analytics.kit import line, rows, run

_VALUE = ["long", "double", "string", "bytes"]
AVRO = fastavro.parse_schema(
    {
        "type": "record",
        "name": "EventData",
        "namespace": "Microsoft.ServiceBus.Messaging",
        "fields": [
            {"name": "SequenceNumber", "type": "long"},
            {"name": "Offset", "type": "string"},
            {"name": "EnqueuedTimeUtc", "type": "string"},
            {"name": "SystemProperties", "type": {"type": "map", "values": _VALUE}},
            {"name": "Properties", "type": {"type": "map", "values": [*_VALUE, "null"]}},
            {"name": "Body", "type": ["null", "bytes"]},
        ],
    }
)
"""The schema in Capture's documentation."""


def captured(file: Path, bodies: Iterable[bytes | None], first: int = 0) -> Path:
    entries = [
        {
            "SequenceNumber": first + number,
            "Offset": str(number * 100),
            "EnqueuedTimeUtc": "11/13/2024 6:59:30 AM",
            "SystemProperties": {"x-opt-enqueued-time": 1731481170584},
            "Properties": {"type": "completion", "schema_version": 1},
            "Body": body,
        }
        for number, body in enumerate(bodies)
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as out:
        fastavro.writer(out, AVRO, entries, codec="deflate")
    return file


def test_captured_records_become_rows_once(tmp_path: Path) -> None:
    """Files of two partitions with repeats, imported twice: each record is one row, and the finished one stays."""
    first = captured(tmp_path / "hub/0/06.avro", [line(1, status="interrupted"), line(2), line(2), b"{", None])
    second = captured(tmp_path / "hub/1/06.avro", [line(1), line(3)])
    done = run("analytics.capture", "--table", tmp_path / "table", first, second)
    assert done.stdout.splitlines() == [
        f"{first}: 2 records, 1 repeats dropped, 2 set aside",
        f"{second}: 2 records, 0 repeats dropped, 0 set aside",
    ]
    again = run("analytics.capture", "--table", tmp_path / "table", first, second)
    assert "0 records, 3 repeats dropped, 2 set aside" in again.stdout
    found = rows(tmp_path / "table", "id, status")
    assert [(int(row["id"], 16), row["status"]) for row in found] == [(n, "completed") for n in (1, 2, 3)]
    assert len(list((tmp_path / "table/_set_aside").iterdir())) == 1


@pytest.mark.parametrize("content", [b"", b"not Avro", None])
def test_other_files_are_rejected(tmp_path: Path, content: bytes | None) -> None:
    """The error names the file, and the exit status is 1."""
    file = tmp_path / "x.avro"
    if content is None:
        schema = {"type": "record", "name": "Other", "fields": [{"name": "a", "type": "long"}]}
        with file.open("wb") as out:
            fastavro.writer(out, schema, [{"a": 1}])
    else:
        file.write_bytes(content)
    done = run("analytics.capture", "--table", tmp_path / "table", file)
    assert done.returncode == 1
    assert str(file) in done.stderr
    assert "Traceback" not in done.stderr
