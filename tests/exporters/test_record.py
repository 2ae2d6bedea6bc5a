"""The record: every field, from the facts of a call to a line of JSON."""

import json
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.operations.json_text import dump
from exporters.record import FIXED, Record, adopted, event_properties, parse, record_id
from otel.call import Answer, Attempt, Call, Choice, Request, Status, ToolCall, Usage
from otel.span import CallSpan
from tests.exporters.calls import CALLS, MS, SPANS, START, TRACER, a_call, line_of, record_of
from tests.kit.hub import SCHEMA, checked

TOOL = ToolCall("call_1", "weather", '{"city":"Bern"}')


def test_every_field_of_a_stream() -> None:
    """Each fact of a call is in the record under its field name, and nothing else is."""
    call = a_call(
        api_type="chat_completions",
        deployment="chat-deployment",
        api_version="2024-10-21",
        request=Request(
            "gpt-asked", True, '[{"role":"user","content":"hé"}]', '"be brief"', {"gen_ai.request.seed": 5}
        ),
        caller={"subscription_id": "sub-1", "user_id": "user-7"},
        first_chunk_ns=900 * MS + 999_999,
        first_token_ns=1001 * MS,
        backend="east",
        attempts=[Attempt("west", 1), Attempt("east", 2, 200)],
        http_status=200,
        region="East US 2",
        apim_request_id="apim-1",
        client_request_id="client-1",
        spilled_over=False,
        request_bytes=77,
        response_bytes=999,
        answer=Answer(
            id="chatcmpl-1",
            model="gpt-named",
            choices=[
                Choice(0, "an answer", "a refusal", "a thought", [TOOL], "tool_calls", "audio_1"),
                Choice(1, "another", finish_reason=None),
            ],
            usage=Usage(12, 7, 19, {"prompt_tokens_details": {"cached_tokens": 4}}),
            usage_source="reported",
            content_filter={"prompt": {"hate": {"filtered": False}}},
            service_tier="default",
            system_fingerprint="fp_1",
            truncated=True,
        ),
        chunks=11,
        status=Status.UPSTREAM_CUT,
        error_code="time_limit",
        error_message="it took too long",
    )
    record = record_of(call)
    tool = {"id": "call_1", "name": "weather", "arguments": '{"city":"Bern"}'}
    context = SPANS.ended[-1].context
    assert record == {
        "type": "stream_completion",
        "schema_version": 1,
        "id": call.id,
        "trace_id": f"{context.trace_id:032x}",
        "span_id": f"{context.span_id:016x}",
        "timestamp": "2024-11-13T06:59:30.584946",
        "started_at": "2024-11-13T06:59:28.300000Z",
        "operation": "chat",
        "model": "gpt-named",
        "deployment": "chat-deployment",
        "region": "East US 2",
        "stream": True,
        "status": "upstream_cut",
        "http_status": 200,
        "error": {"code": "time_limit", "message": "it took too long"},
        "prompt": [{"role": "user", "content": "hé"}],
        "instructions": "be brief",
        "content": "an answer",
        "usage": {
            "prompt_tokens": 12,
            "completion_tokens": 7,
            "total_tokens": 19,
            "prompt_tokens_details": {"cached_tokens": 4},
        },
        "latency_ms": 2284,
        "time_to_first_chunk_ms": 900,
        "streaming_duration_ms": 1384,
        "api_version": "2024-10-21",
        "finish_reasons": ["tool_calls"],
        "refusal": "a refusal",
        "reasoning": "a thought",
        "usage_source": "reported",
        "time_to_first_token_ms": 1001,
        "chunks": 11,
        "backend": "east",
        "attempts": 2,
        "attempts_made": [{"backend": "west", "after_ms": 0}, {"backend": "east", "after_ms": 0, "http_status": 200}],
        "response_id": "chatcmpl-1",
        "system_fingerprint": "fp_1",
        "service_tier": "default",
        "apim_request_id": "apim-1",
        "client_request_id": "client-1",
        "spilled_over": False,
        "audio_id": "audio_1",
        "truncated": True,
        "content_captured": True,
        "request_bytes": 77,
        "response_bytes": 999,
        "tool_calls": [tool],
        "choices": [
            {"index": 0, "content": "an answer", "finish_reason": "tool_calls", "tool_calls": [tool]},
            {"index": 1, "content": "another", "finish_reason": None},
        ],
        "content_filter": {"prompt": {"hate": {"filtered": False}}},
        "caller": {"subscription_id": "sub-1", "user_id": "user-7"},
    }
    assert list(record)[:2] == ["type", "schema_version"]


def test_the_fixed_fields_are_always_present() -> None:
    """A call of which nothing is known has every fixed field, and no other field that would be empty."""
    record = record_of(Call("call", arrived_ns=0, started_at_ns=START, end_ns=3 * MS))
    assert {name: record[name] for name in FIXED} == {
        "type": "completion",
        "content": "",
        "usage": None,
        "model": "unknown",
        "prompt": None,
        "region": "unknown",
        "latency_ms": 3,
        "timestamp": "2024-11-13T06:59:28.303000",
    }
    assert {name for name, value in record.items() if value is None} == {"usage", "prompt"}
    assert not {"time_to_first_chunk_ms", "streaming_duration_ms", "caller", "error", "tool_calls"} & set(record)


def test_model_is_the_one_upstream_named() -> None:
    """Else the deployment, and never empty."""
    for model, deployment, shown in (("named", "d", "named"), ("", "d", "d"), (None, "d", "d"), ("", "", "unknown")):
        assert record_of(a_call(answer=Answer(model=model), deployment=deployment))["model"] == shown


@settings(deadline=None)
@given(st.lists(st.integers(0, 700 * 10**9), min_size=3, max_size=3))
def test_the_times_of_a_stream_add_up(times: list[int]) -> None:
    """time_to_first_chunk_ms and streaming_duration_ms add up to latency_ms exactly, for any nanoseconds."""
    first, token, end = sorted(times)
    call = a_call(request=Request(stream=True), first_chunk_ns=first, first_token_ns=token, end_ns=end)
    record = record_of(call)
    assert record["latency_ms"] == end // MS
    assert record["time_to_first_chunk_ms"] == first // MS
    assert record["time_to_first_chunk_ms"] + record["streaming_duration_ms"] == record["latency_ms"]
    assert record["time_to_first_chunk_ms"] <= record["time_to_first_token_ms"] <= record["latency_ms"]


def test_several_attempts_are_listed() -> None:
    """With backend, time and status, if there was a response; a single attempt is not listed."""
    attempts = [Attempt("eu", 0, 429), Attempt("us", 20_999_999), Attempt("asia", 50 * MS, 200)]
    assert record_of(a_call(attempts=attempts))["attempts_made"] == [
        {"backend": "eu", "after_ms": 0, "http_status": 429},
        {"backend": "us", "after_ms": 20},
        {"backend": "asia", "after_ms": 50, "http_status": 200},
    ]
    assert "attempts_made" not in record_of(a_call(attempts=attempts[:1]))


@settings(deadline=None)
@given(st.integers(0, 700 * 10**9))
def test_a_stream_without_chunks_has_duration_zero(end: int) -> None:
    """All of its latency is before the first chunk."""
    record = record_of(a_call(request=Request(stream=True), end_ns=end))
    assert (record["time_to_first_chunk_ms"], record["streaming_duration_ms"]) == (record["latency_ms"], 0)
    assert "time_to_first_token_ms" not in record


@settings(deadline=None)
@given(st.datetimes(datetime(2020, 1, 1), datetime(2200, 1, 1)))
def test_the_timestamp_is_utc_with_microseconds(end: datetime) -> None:
    """timestamp is the call's end in ISO 8601, in UTC without an offset, always with six decimals."""
    since = end.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    epoch_ns = (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000
    record = record_of(a_call(started_at_ns=epoch_ns, end_ns=999))
    assert record["timestamp"] == end.strftime("%Y-%m-%dT%H:%M:%S.%f")
    assert record["started_at"] == record["timestamp"] + "Z"


MARK = "S3CRET"


def a_marked_call(**more: Any) -> Call:
    """A call with the mark wherever a person or a model can put text."""
    tool = ToolCall("call_1", MARK, MARK)
    choices = [Choice(index, MARK, MARK, MARK, [tool], "stop") for index in range(2)]
    return a_call(
        request=Request("gpt", True, dump([{"role": "user", "content": MARK}]), dump(MARK), {"gen_ai.request.seed": 1}),
        answer=Answer(choices=choices, usage=Usage(1, 2, 3)),
        deployment="d",
        status=Status.UPSTREAM_ERROR,
        error_code="content_filter",
        error_message=f"your prompt said {MARK}",
        **more,
    )


def test_without_content_the_record_has_no_text() -> None:
    """PROXY_CONTENT=none: prompt is null, content is empty, and the line has nothing that was sent or generated."""
    assert line_of(a_marked_call()).count(MARK.encode()) == 14
    call = a_marked_call(capture_content=False)
    line = line_of(call)
    assert MARK.encode() not in line
    assert MARK.encode() not in Record.interrupted(SPANS.started[-1]).to_json()
    record = checked(json.loads(line))
    assert (record["prompt"], record["content"], record["content_captured"]) == (None, "", False)
    assert record["error"] == {"code": "content_filter", "message": None}
    assert record["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    assert not {"tool_calls", "choices", "refusal", "reasoning"} & set(record)


def test_lone_surrogates_lose_no_record() -> None:
    """With half a surrogate pair, which JSON can escape, anywhere in a call, the line is still UTF-8 and JSON."""
    half = "half \ud83d"
    tool = ToolCall(half, half, half)
    choices = [Choice(index, half, half, half, [tool], half) for index in range(2)]
    call = a_call(
        request=Request(half, False, dump([{"content": half}]), dump(half), {"gen_ai.request.stop_sequences": (half,)}),
        caller={"user_id": half},
        answer=Answer(half, half, choices, content_filter={"prompt": {half: half}}),
        status=Status.UPSTREAM_ERROR,
        error_code="400",
        error_message=half,
    )
    line = line_of(call)
    record = checked(json.loads(line.decode()))
    assert record["prompt"] == [{"content": half}]
    assert record["content"] == record["caller"]["user_id"] == record["error"]["message"] == "half ?"
    assert record["tool_calls"][0]["arguments"] == half


@settings(deadline=None)
@given(CALLS)
def test_any_call_is_valid_by_the_schema(call: Call) -> None:
    """Any call, finished or interrupted, becomes one line of UTF-8 JSON that is valid by docs/record.schema.json."""
    line = line_of(call)
    assert b"\n" not in line
    assert record_id(line) == call.id
    assert checked(parse(line)) == json.loads(line.decode())
    line = adopted(Record.interrupted(SPANS.started[-1]).to_json(), datetime.now(UTC))
    SCHEMA.validate(json.loads(line))


def test_an_interrupted_record_is_dated_at_its_adoption() -> None:
    """It has what was known at the start, and no time but its adoption's; its prompt may look like a timestamp."""
    undated = "0000-00-00T00:00:00.000000"
    CallSpan(TRACER, a_call(request=Request("m", True, dump(undated)), deployment="d"))
    line = adopted(Record.interrupted(SPANS.started[-1]).to_json(), datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    record = checked(json.loads(line))
    assert record["timestamp"] == "2026-01-02T03:04:05.000000"
    assert record["prompt"] == undated
    assert (record["status"], record["content"], record["usage"]) == ("interrupted", "", None)
    assert record["latency_ms"] is None
    assert "time_to_first_chunk_ms" not in record


def test_event_properties_are_type_and_version() -> None:
    """They are read from the line; a line that is not a record is refused."""
    line = line_of(a_call(request=Request(stream=True)))
    assert event_properties(line) == {"type": "stream_completion", "schema_version": 1}
    for wrong in (b"", b"{}", b'{"id":"1"}', line[1:], b" " + line):
        assert record_id(wrong) is None
        with pytest.raises(ValueError, match="not a record"):
            event_properties(wrong)


def test_parse_keeps_the_order_and_refuses_non_objects() -> None:
    """Also if the line is nested deeper than orjson can parse."""
    deep = b"[" * 5000 + b"]" * 5000
    line = line_of(a_call(request=Request(prompt=deep.decode())))
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(line)
    assert list(parse(line))[:3] == ["type", "schema_version", "id"]
    for wrong in (b"", b"[1]", b'{"a":'):
        with pytest.raises(ValueError, match=r"Expecting|not a record"):
            parse(wrong)
