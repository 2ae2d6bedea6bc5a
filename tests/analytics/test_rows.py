"""From an event's body to a row: every field has its column, unknown fields are kept, and invalid records say why."""

import json
from datetime import timedelta
from typing import Any

import pytest

from analytics.columns import COLUMNS, SCHEMA
from analytics.readme import README, filled
from analytics.rows import NotARecord, parse, table_of
from tests.analytics.kit import START, line, record
from tests.kit.hub import SCHEMA as RECORD_SCHEMA


def row(**more: Any) -> dict[str, Any]:
    (found,) = table_of([parse(line(1, **more))]).to_pylist()
    return found


def test_a_record_becomes_a_flat_row() -> None:
    """Usage and caller have their own columns, times are UTC, and unknown values are '' or null."""
    usage = {"prompt_tokens": 7, "prompt_tokens_details": {"cached_tokens": 3}}
    found = row(usage=usage, error={"code": "timeout", "message": "late"}, api_version=None)
    assert found["timestamp"] == START
    assert found["started_at"] == START - timedelta(seconds=2)
    assert (found["prompt_tokens"], found["completion_tokens"], found["cached_tokens"]) == (7, None, 3)
    assert (found["subscription_id"], found["user_id"], found["app_id"]) == ("team-a", "ann", "")
    assert (found["error_code"], found["error_message"], found["api_version"]) == ("timeout", "late", "")
    assert json.loads(found["prompt"]) == [{"role": "user", "content": "prompt 1"}]
    assert (found["finish_reasons"], found["tool_calls"], found["more"]) == ("stop", "", "")
    assert (found["content_captured"], found["truncated"]) == (True, False)


def test_details_of_the_responses_api_have_the_same_columns() -> None:
    """Whatever upstream calls them, cached and reasoning tokens have one column each."""
    details = {"input_tokens_details": {"cached_tokens": 5}, "output_tokens_details": {"reasoning_tokens": 9}}
    found = row(usage={"prompt_tokens": 7, "completion_tokens": 11, "total_tokens": 18, **details})
    assert (found["cached_tokens"], found["reasoning_tokens"]) == (5, 9)


def test_what_is_billed_has_columns() -> None:
    """Cache writes, audio and images, under the names of a session's usage; size and quality as they were asked for."""
    counts = {"audio_tokens": 4, "image_tokens": 3, "cached_audio_tokens": 2, "cache_write_tokens": 1}
    usage = {"prompt_tokens": 9, "input_token_details": counts, "output_token_details": {"image_tokens": 5}}
    found = row(usage=usage, request={"size": "1024x1024", "quality": 5, "n": 2})
    assert [found[name] for name in ("audio_prompt_tokens", "image_prompt_tokens", "cached_audio_tokens")] == [4, 3, 2]
    assert (found["cache_write_tokens"], found["image_completion_tokens"]) == (1, 5)
    assert (found["output_size"], found["output_quality"]) == ("1024x1024", "")


@pytest.mark.parametrize("levels", [255, 1025, 5000])
def test_a_deep_prompt_is_a_row(levels: int) -> None:
    """However deep a valid record nests, it has a row."""
    prompt = "[" * levels + "]" * levels
    body = line(1, prompt="PROMPT").replace(b'"PROMPT"', prompt.encode())
    (found,) = table_of([parse(body)]).to_pylist()
    assert found["prompt"] == prompt


@pytest.mark.parametrize("count", [2**53 + 1, 2**63 - 1, 2**63])
def test_an_implausible_count_is_unknown(count: int) -> None:
    """So no sum over the table overflows, and the record is a row all the same."""
    found = row(usage={"prompt_tokens": count, "completion_tokens": 2**53}, latency_ms=count)
    assert (found["prompt_tokens"], found["completion_tokens"], found["latency_ms"]) == (None, 2**53, None)


def test_every_field_of_the_schema_has_a_column() -> None:
    """No field in the record's schema ends up in `more`."""
    taken = {path[0] for column in COLUMNS for path in column.paths}
    schema: Any = RECORD_SCHEMA.schema
    assert schema["properties"].keys() <= taken


def test_unknown_fields_are_kept() -> None:
    """Fields without a column, including the operator's own caller fields, are in `more`."""
    found = row(weather="fine", caller={"subscription_id": "team-a", "cost_center": "12"})
    assert json.loads(found["more"]) == {"weather": "fine", "caller": {"cost_center": "12"}}


def test_only_the_fixed_fields_are_required() -> None:
    """A record with only the fixed fields is a row; two with the same bytes have the same id."""
    fixed = ("type", "content", "usage", "model", "prompt", "region", "latency_ms", "timestamp")
    body = json.dumps({name: value for name, value in record(1).items() if name in fixed}).encode()
    first, second = parse(body), parse(body)
    assert first["id"] == second["id"] != parse(body.replace(b"answer", b"other "))["id"]
    (found,) = table_of([first]).to_pylist()
    assert (found["started_at"], found["status"], found["stream"]) == (None, "", False)


def test_lone_surrogates_are_replaced() -> None:
    """JSON allows one in a prompt; it becomes a replacement character, and the event is not set aside."""
    found = table_of([parse(line(1).replace(b"prompt 1", b"\\ud800!"))]).to_pylist()[0]
    assert json.loads(found["prompt"])[0]["content"] == "?!"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "missing type"),
        (b"[" * 200_000, "not JSON"),
        (line(1, usage="none"), "usage is not a dict"),
        (line(1, caller="ann"), "caller or error is not an object"),
        (line(1, timestamp="yesterday"), "yesterday"),
        (line(1, http_status="ok"), "ok"),
        (line(1, attempts=2**64), "int"),
        (line(1, finish_reasons=3), "iterable"),
        (line(1, usage={"prompt_tokens": 1, "prompt_tokens_details": "x"}), "str"),
    ],
)
def test_invalid_records_are_rejected_with_a_reason(body: bytes, reason: str) -> None:
    """Whatever is wrong with the event."""
    with pytest.raises(NotARecord, match=reason):
        table_of([parse(body)])


def test_the_readme_lists_the_columns() -> None:
    """README.md lists the current columns, and the schema has their names."""
    assert filled(README.read_text()) == README.read_text(), "run python -m analytics.readme"
    assert SCHEMA.names == [column.name for column in COLUMNS]
    assert table_of([]).schema == SCHEMA
