"""How the doctor compares a record with what it received, and recognizes buffered streams."""

from typing import Any

import pytest

from app.doctor.records import differences, generated_over
from app.doctor.seen import Seen
from tests.kit.wire import TEXT


def seen(**more: Any) -> Seen:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    return Seen("0" * 32, **{"stream": True, "content": TEXT, "usage": usage, "end": 1.0, **more})


RECORD = {
    "type": "stream_completion",
    "status": "completed",
    "http_status": 200,
    "content": TEXT,
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "prompt_tokens_details": {}},
    "latency_ms": 900,
    "time_to_first_chunk_ms": 100,
    "time_to_first_token_ms": 400,
    "streaming_duration_ms": 800,
}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, []),
        ({"type": "completion"}, ["type is 'completion' instead of 'stream_completion'"]),
        ({"status": "client_aborted"}, ["status is 'client_aborted' instead of 'completed'"]),
        ({"http_status": None}, ["http_status is None instead of 200"]),
        ({"content": "else"}, ["content differs"]),
        ({"content": "[redacted] else"}, []),
        ({"content": "", "content_captured": False}, []),
        ({"content": "Wh…", "truncated": True}, []),
        ({"usage": None}, ["usage is missing"]),
        ({"usage": {**RECORD["usage"], "total_tokens": 4}}, ["usage differs"]),  # type: ignore[dict-item]
        ({"latency_ms": None}, ["latency_ms is missing"]),
        ({"latency_ms": 1100}, ["latency_ms is 1100, but the client had everything after 1000"]),
        ({"streaming_duration_ms": 799}, ["its times do not add up"]),
    ],
)
def test_differences_are_named(more: dict[str, Any], said: list[str]) -> None:
    """Each difference between a record and what the client received is named, except those that settings cause."""
    assert differences({**RECORD, **more}, seen()) == said


def test_buffering_and_batches_are_recognized() -> None:
    """Chunks within 3 ms form one batch; a thousand chunks per second were buffered."""
    assert seen(tokens_at=[]).batches == 0
    assert seen(tokens_at=[1.0]).batches == 1
    assert seen(tokens_at=[1.0, 1.001, 1.002, 1.010, 1.011, 2.0]).batches == 3
    assert seen(tokens_at=[5.0 + number / 2000 for number in range(50)]).buffered
    assert not seen(tokens_at=[5.0 + number / 500 for number in range(50)]).buffered
    paused = [number / 2000 + 0.02 * (number // 10) for number in range(42)]
    assert seen(tokens_at=[2.0 + at for at in paused]).buffered
    assert not seen(tokens_at=[0.5 + at for at in paused]).buffered
    assert not seen(tokens_at=[2.0 + at * 4 for at in paused]).buffered
    assert not seen(tokens_at=[]).buffered
    assert not seen(tokens_at=[1.0]).buffered
    assert generated_over(RECORD) == 0.5
    assert generated_over({"latency_ms": 5}) is None
