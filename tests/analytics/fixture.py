"""The calls for the tests of the questions: few enough to count by hand."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from analytics.folder import LocalFolder
from analytics.rows import parse, table_of
from analytics.table import Part, by_hour, encoded
from tests.analytics.fill import bodies
from tests.analytics.kit import START, line

DAY = timedelta(days=1)
_MINI = {"model": "gpt-4o-mini-2024-07-18", "deployment": "mini"}
_UNANSWERED: dict[str, Any] = dict.fromkeys(("time_to_first_token_ms", "finish_reasons", "usage"))


def _stream(number: int, at: datetime, first: int, token: int, latency: int, tokens: int, **more: Any) -> bytes:
    usage = {"prompt_tokens": 1000, "completion_tokens": tokens, "total_tokens": 1000 + tokens}
    times = {"time_to_first_chunk_ms": first, "streaming_duration_ms": latency - first, "latency_ms": latency}
    return line(number, at, **{"usage": usage, "time_to_first_token_ms": token, **times, **more})


def calls() -> list[bytes]:
    """Twelve calls on two days, of two models in two regions."""
    cached = {
        "prompt_tokens": 1000,
        "completion_tokens": 100,
        "total_tokens": 1100,
        "prompt_tokens_details": {"cached_tokens": 400},
    }
    json_call = dict.fromkeys(("time_to_first_chunk_ms", "streaming_duration_ms", "time_to_first_token_ms"))
    refused = {"status": "upstream_error", "http_status": 429, "error": {"code": "429", "message": "slow down"}}
    filtered = {"status": "upstream_error", "http_status": 400, "error": {"code": "content_filter"}}
    bob = {"subscription_id": "team-b", "product": "search", "user_id": "bob"}
    return [
        # 06:59 and 07:…, Sweden: 100, 200, 300, 400 ms in the queue
        *(_stream(n, START + timedelta(minutes=n), 100 * n, 100 * n + 100, 2000 * n, 50 * n) for n in (1, 2, 3, 4)),
        _stream(5, START, 150, 250, 3000, 100, usage=cached),
        # an hour later: aborted, rejected, filtered, cut off by the filter
        _stream(6, START + timedelta(hours=1), 90, 190, 1000, 7, status="client_aborted", finish_reasons=None),
        _stream(7, START + timedelta(hours=1), 5, 5, 5, 0, **refused | _UNANSWERED),
        _stream(8, START + timedelta(hours=1), 6, 6, 6, 0, **filtered | _UNANSWERED),
        _stream(9, START + timedelta(hours=1), 80, 180, 9000, 30, finish_reasons=["content_filter"]),
        # the next day: another model, region and caller; one not streamed; one without a price
        line(10, START + DAY, region="Japan East", caller=bob, type="completion", stream=False, **_MINI, **json_call),
        _stream(11, START + DAY, 60, 90, 590, 20, region="Japan East", caller=bob, **_MINI),
        _stream(12, START + DAY, 70, 170, 1170, 10, region="Japan East", caller=bob, model="our-own", deployment="own"),
    ]


def write(directory: Path, *more: bytes) -> None:
    """Write a table of the calls, and of more records."""
    folder = LocalFolder(directory)
    rows = table_of([parse(body) for body in (*calls(), *more)])
    for hour, of_hour in by_hour(rows).items():
        folder.write(Part(hour, "ab", "0", 0, rows.num_rows - 1).name, encoded(of_hour))


def write_many(directory: Path, count: int) -> None:
    """Write a table of many calls: 48 hours, four files each."""
    folder = LocalFolder(directory)
    waiting: dict[str, list[bytes]] = {}
    for number, body in enumerate(bodies(count)):
        waiting.setdefault(body[body.index(b"started_at") :][13:26].decode(), []).append(body)
        if number % 100_000 == 99_999 or number == count - 1:
            for hour in list(waiting):
                rows = table_of([parse(body) for body in waiting.pop(hour)])
                for place, of_hour in by_hour(rows).items():
                    for at in range(0, of_hour.num_rows, 6000):
                        part = Part(place, "ab", "0", number + at, number + at)
                        folder.write(part.name, encoded(of_hour.slice(at, 6000)))
