"""Chat completions, where they are more than text and tools: old functions, custom tools, spoken answers."""

import json
from typing import Any

import pytest

from otel import attributes as a
from otel.call import Choice, ToolCall
from tests.app.operations.conftest import Through
from tests.app.operations.shapes import BLOCKED, SAFE, SSE, operation, streamed, whole
from tests.kit.wire import CHUNK, DONE, STOP, chat_body, chat_json, delta

CHAT = "chat/completions"
V1 = "/openai/v1/chat/completions"
AUDIO: dict[str, Any] = {"id": "audio_1", "data": "UklGRlNPVU5E", "expires_at": 1785164068, "transcript": "Hello, you."}


def chunk(said: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": said, "finish_reason": None, **more}], **CHUNK}


def message(**said: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": {"role": "assistant", "content": None, **said}}], **CHUNK}


def test_functions_as_they_were_before_tools() -> None:
    """A `function_call`, whole or in pieces, is a tool call that has no id."""
    called = [ToolCall(None, "weather", '{"city":"Köln"}')]
    (choice,) = whole(CHAT, message(function_call={"name": "weather", "arguments": '{"city":"Köln"}'})).choices
    assert choice.tool_calls == called
    pieces = [{"name": "weather", "arguments": ""}, {"arguments": '{"city"'}, {"arguments": ':"Köln"}'}]
    answer, _ = streamed(CHAT, *(chunk({"function_call": piece}) for piece in pieces))
    assert answer.choices[0].tool_calls == called
    assert operation(CHAT).stream().event(chunk({"function_call": pieces[0]})) is True


def test_custom_tools() -> None:
    """The input of a custom tool is its arguments."""
    call = {"id": "call_1", "type": "custom", "custom": {"name": "run", "input": "ls -l"}}
    assert whole(CHAT, message(tool_calls=[call])).choices[0].tool_calls == [ToolCall("call_1", "run", "ls -l")]
    pieces = [{"index": 0, **call}, {"index": 0, "custom": {"input": " /tmp"}}]
    answer, _ = streamed(CHAT, *(chunk({"tool_calls": [piece]}) for piece in pieces))
    assert answer.choices[0].tool_calls == [ToolCall("call_1", "run", "ls -l /tmp")]


def test_a_spoken_answer_is_its_words() -> None:
    """Of spoken output the id and the words are known, and the words are the content where there is no other."""
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
def test_the_sound_of_a_spoken_answer_is_in_no_record(through: Through, stream: bool) -> None:
    """Bytes of sound pass untouched and are not in the record, which has the id and the words."""
    body = chat_json(None, audio=AUDIO)
    events = [delta({"content": None, "audio": AUDIO}), STOP, DONE]
    record = through(
        V1, chat_body(stream, model="d"), events if stream else body, SSE if stream else "application/json"
    )
    assert (record["content"], record["audio_id"]) == ("Hello, you.", "audio_1")
    assert AUDIO["data"] not in json.dumps(record)


def test_log_probabilities_are_left_out(through: Through) -> None:
    """Log probabilities are no part of a record."""
    logprobs = {"content": [{"token": "rare-token", "logprob": -0.5, "bytes": [1], "top_logprobs": []}]}
    event = delta({"content": "x"})
    choices = b'"logprobs":' + json.dumps(logprobs).encode()
    record = through(V1, chat_body(True, model="d"), [event.replace(b'"logprobs":null', choices), STOP, DONE], SSE)
    assert record["content"] == "x"
    assert "rare-token" not in json.dumps(record)


def test_identity_may_come_late() -> None:
    """Service tier and fingerprint count wherever in a stream they come, and an empty one replaces none."""
    first = {**chunk({"content": "x"}), "system_fingerprint": None}
    last = {**chunk({}), "id": "", "model": "m-2", "service_tier": "priority"}
    answer, _ = streamed(CHAT, {"choices": [], "id": "", "model": ""}, first, chunk({"content": "y"}), last)
    assert (answer.id, answer.model, answer.service_tier) == (CHUNK["id"], "m-2", "priority")
    tiered, _ = streamed(CHAT, {**first, "service_tier": "flex"}, {**chunk({}), "service_tier": None})
    assert (tiered.service_tier, tiered.system_fingerprint) == ("flex", CHUNK["system_fingerprint"])


def test_usage_is_not_lost_again() -> None:
    """What comes after the usage, even another that says nothing, does not replace it."""
    counts = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    answer, _ = streamed(CHAT, {"choices": [], "usage": counts}, {"usage": None}, {"usage": {}}, {"usage": "odd"})
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (3, 7)


def test_a_verdict_on_any_part_of_the_prompt_that_blocked_stays() -> None:
    """Of several prompt verdicts, those that blocked are kept."""
    for results in ([BLOCKED, SAFE], [SAFE, BLOCKED]):
        entries = [{"prompt_index": index, "content_filter_results": one} for index, one in enumerate(results)]
        answer, _ = streamed(CHAT, {"choices": [], "prompt_filter_results": entries})
        assert answer.content_filter == {"prompt": BLOCKED}
        assert whole(CHAT, {"prompt_filter_results": entries}).content_filter == {"prompt": BLOCKED}


def test_a_verdict_read_is_not_the_event_s_own() -> None:
    """Merging verdicts changes none of the events that they came in."""
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
def test_the_form_asked_for_is_on_the_span(wanted: dict[str, Any], output: str) -> None:
    """`response_format` is the conventions' output type."""
    request = operation(CHAT).read_request({"messages": [], "response_format": wanted})
    assert request.parameters == {a.OUTPUT_TYPE: output}
    assert operation(CHAT).read_request({"messages": [], "response_format": "odd"}).parameters == {}
