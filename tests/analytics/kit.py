"""Records for the tests of analytics, as the proxy writes them, identified by number."""

import json
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from analytics.folder import LocalFolder
from analytics.rows import parse, table_of
from analytics.table import connect, encoded, query

ROOT = Path(__file__).parents[2]
START = datetime(2024, 11, 13, 6, 59, 30, 584946, tzinfo=UTC)
HOUR = "day=2024-11-13/hour=06"
"""The hour of the table that `START` is in."""


def call_id(number: int) -> str:
    return uuid.UUID(int=number).hex


def record(number: int, at: datetime = START, **more: Any) -> dict[str, Any]:
    """A record of a two-second call that ended `at`; a field given as None is left out."""
    fields = {
        "type": "stream_completion",
        "schema_version": 1,
        "id": call_id(number),
        "trace_id": call_id(number),
        "span_id": f"{number:016x}",
        "timestamp": at.replace(tzinfo=None).isoformat(timespec="microseconds"),
        "started_at": (at - timedelta(seconds=2)).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z",
        "operation": "chat",
        "model": "gpt-4o-2024-11-20",
        "deployment": "gpt-4o",
        "region": "Sweden Central",
        "stream": True,
        "status": "completed",
        "http_status": 200,
        "prompt": [{"role": "user", "content": f"prompt {number}"}],
        "content": f"answer {number}",
        "usage": {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30},
        "usage_source": "reported",
        "latency_ms": 2000,
        "time_to_first_chunk_ms": 100,
        "time_to_first_token_ms": 400,
        "streaming_duration_ms": 1900,
        "finish_reasons": ["stop"],
        "caller": {"subscription_id": "team-a", "product": "chat", "user_id": "ann"},
        **more,
    }
    return {name: value for name, value in fields.items() if value is not None or name in ("usage", "latency_ms")}


def line(*given: Any, **more: Any) -> bytes:
    return json.dumps(record(*given, **more), separators=(",", ":")).encode()


def rows(table: Path, columns: str = "*") -> list[dict[str, Any]]:
    """All rows of a table, ordered by id."""
    folder = LocalFolder(table)
    with connect(folder) as calls:
        return query(calls, folder, f'SELECT {columns} FROM "Calls" ORDER BY id').to_pylist()


def parquet(*bodies: bytes) -> memoryview:
    """Records as a file of the table."""
    return encoded(table_of([parse(body) for body in bodies]))


def run(module: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a module of the project to its end."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
