"""Chat completions beyond text and tools: legacy functions, custom tools, audio output."""

import json
from typing import Any

import pytest

from otel import attributes as a
from otel.call import Choice, ToolCall
from tests.app.operations.conftest import Through
from tests.app.operations.shapes import BLOCKED, JSON, SAFE, SSE, operation, streamed, whole
from tests.kit.wire import CHUNK, DONE, STOP, chat_body, chat_json, delta

CHAT = "chat/completions"
V1 = "/openai/v1/chat/completions"
AUDIO: dict[str, Any] = {"id": "audio_1", "data": "UklGRlNPVU5E", "expires_at": 1785164068, "transcript": "Hello, you."}


def chunk(output: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": output, "finish_reason": None, **more}], **CHUNK}


def message(**output: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": {"role": "assistant", "content": None, **output}}], **CHUNK}


def test_a_legacy_function_call_is_a_tool_call() -> None:
    """A `function_call`, whole or in pieces, is a tool call without an id."""
    called = [ToolCall(None, "weather", '{"city":"Köln"}')]
    (choice,) = whole(CHAT, message(function_call={"name": "weather", "arguments": '{"city":"Köln"}'})).choices
    assert choice.tool_calls == called
    pieces = [{"name": "weather", "arguments": ""}, {"arguments": '{"city"'}, {"arguments": ':"Köln"}'}]
    answer, _ = streamed(CHAT, *(chunk({"function_call": piece}) for piece in pieces))
    assert answer.choices[0].tool_calls == called
    assert operation(CHAT).stream().event(chunk({"function_call": pieces[0]})) is True


def test_a_custom_tool_call_is_a_tool_call() -> None:
    """Its input is recorded as arguments."""
    call = {"id": "call_1", "type": "custom", "custom": {"name": "run", "input": "ls -l"}}
    assert whole(CHAT, message(tool_calls=[call])).choices[0].tool_calls == [ToolCall("call_1", "run", "ls -l")]
    pieces = [{"index": 0, **call}, {"index": 0, "custom": {"input": " /tmp"}}]
    answer, _ = streamed(CHAT, *(chunk({"tool_calls": [piece]}) for piece in pieces))
    assert answer.choices[0].tool_calls == [ToolCall("call_1", "run", "ls -l /tmp")]


def test_a_transcript_is_content() -> None:
    """Audio output has an id and a transcript, which is the content if there is no other."""
    spoken = Choice(content="Hello, you.", audio_id="audio_1")
    assert whole(CHAT, message(audio=AUDIO)).choices == [spoken]
    assert whole(CHAT, message(audio=AUDIO, content="Hi")).choices[0].content == "Hi"
    pieces = [{"id": "audio_1"}, {"data": "UklG"}, {"transcript": "Hello,"}, {"transcript": " you."}, {"expires_at": 1}]
    events = [chunk({"role": "assistant", "audio": piece}) for piece in pieces]
    answer, _ = streamed(CHAT, *events)
    assert answer.choices == [spoken]
    reader = operation(CHAT).stream()
    assert [reader.event(one) for one in events] == [False, False, True, True, False]


@pytest.mark.parametrize("stream", [False, True])
def test_audio_and_log_probabilities_are_not_recorded(through: Through, stream: bool) -> None:
    """They pass unchanged; the record has only the id and the transcript of the audio."""
    logprobs = b': {"content": [{"token": "rare-token", "logprob": -0.5, "bytes": [1], "top_logprobs": []}]}'
    body = chat_json(None, audio=AUDIO).replace(b": null", logprobs)
    chunk = delta({"content": None, "audio": AUDIO}).replace(b'"logprobs":null', b'"logprobs"' + logprobs)
    assert b"rare-token" in body
    assert b"rare-token" in chunk
    record = through(V1, chat_body(stream, model="d"), [chunk, STOP, DONE] if stream else body, SSE if stream else JSON)
    assert (record["content"], record["audio_id"]) == ("Hello, you.", "audio_1")
    assert AUDIO["data"] not in json.dumps(record)
    assert "rare-token" not in json.dumps(record)


def test_identity_may_come_late() -> None:
    """Service tier and fingerprint may come anywhere in a stream; an empty value replaces none."""
    first = {**chunk({"content": "x"}), "system_fingerprint": None}
    last = {**chunk({}), "id": "", "model": "m-2", "service_tier": "priority"}
    answer, _ = streamed(CHAT, {"choices": [], "id": "", "model": ""}, first, chunk({"content": "y"}), last)
    assert (answer.id, answer.model, answer.service_tier) == (CHUNK["id"], "m-2", "priority")
    tiered, _ = streamed(CHAT, {**first, "service_tier": "flex"}, {**chunk({}), "service_tier": None})
    assert (tiered.service_tier, tiered.system_fingerprint) == ("flex", CHUNK["system_fingerprint"])


def test_a_blocking_verdict_on_any_prompt_stays() -> None:
    """Of several prompt verdicts, those that blocked are kept, in any order."""
    for results in ([BLOCKED, SAFE], [SAFE, BLOCKED]):
        entries = [{"prompt_index": index, "content_filter_results": one} for index, one in enumerate(results)]
        answer, _ = streamed(CHAT, {"choices": [], "prompt_filter_results": entries})
        assert answer.content_filter == {"prompt": BLOCKED}
        assert whole(CHAT, {"prompt_filter_results": entries}).content_filter == {"prompt": BLOCKED}


def test_merging_verdicts_does_not_change_events() -> None:
    """A merged verdict is a copy."""
    events = [chunk(None, content_filter_results=dict(one)) for one in (SAFE, BLOCKED, SAFE)]
    before = json.dumps(events)
    answer, _ = streamed(CHAT, *events)
    assert answer.content_filter == {"completion": BLOCKED}
    assert json.dumps(events) == before


@pytest.mark.parametrize(
    ("wanted", "output"),
    [
        ({"type": "json_schema", "json_schema": {}}, "json"),
        ({"type": "json_object"}, "json"),
        ({"type": "text"}, "text"),
    ],
)
def test_response_format_is_the_output_type(wanted: dict[str, Any], output: str) -> None:
    """`response_format` becomes the output type of the GenAI conventions."""
    request = operation(CHAT).read_request({"messages": [], "response_format": wanted})
    assert request.parameters == {a.OUTPUT_TYPE: output}
    assert operation(CHAT).read_request({"messages": [], "response_format": "odd"}).parameters == {}
