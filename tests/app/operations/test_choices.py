"""Chat completions: requests, whole answers and deltas, valid and invalid."""

import json
from typing import Any

import pytest

from app.operations.chat import Chat
from otel import attributes as a
from otel.call import Answer, Choice, ToolCall, Usage
from tests.app.operations import shapes
from tests.kit.wire import CHUNK, SAFE

CHAT = Chat()


def whole(**body: Any) -> Answer:
    return shapes.whole("chat/completions", body)


def stream(*events: dict[str, Any]) -> Answer:
    return shapes.streamed("chat/completions", *events)[0]


def chunk(content: dict[str, Any] | None = None, finish_reason: str | None = None, index: int = 0) -> dict[str, Any]:
    """A chunk of one choice, as the service sends it."""
    return {"choices": [{"index": index, "delta": content or {}, "finish_reason": finish_reason}], **CHUNK}


def tool(index: int, arguments: str = "", **more: Any) -> dict[str, Any]:
    name = {"name": more.pop("name")} if "name" in more else {}
    return {"tool_calls": [{"index": index, "function": {"arguments": arguments, **name}, **more}]}


def test_request_facts_are_read() -> None:
    """Model, stream, the unchanged messages, and each sampling parameter under its attribute name."""
    messages = [{"role": "user", "content": [{"type": "text", "text": "Öl ✨"}]}]
    request = CHAT.read_request(
        {
            "model": "gpt-4.1",
            "messages": messages,
            "stream": True,
            "temperature": 0,
            "top_p": 0.5,
            "frequency_penalty": -1,
            "presence_penalty": 1.5,
            "max_completion_tokens": 100,
            "seed": -7,
            "n": 3,
            "stop": ["a", "b"],
            "service_tier": "flex",
            "unknown": {},
        }
    )
    assert (request.model, request.stream) == ("gpt-4.1", True)
    assert request.prompt is not None
    assert json.loads(request.prompt) == messages
    assert request.parameters == {
        a.REQUEST_TEMPERATURE: 0.0,
        a.REQUEST_TOP_P: 0.5,
        a.REQUEST_FREQUENCY_PENALTY: -1.0,
        a.REQUEST_PRESENCE_PENALTY: 1.5,
        a.REQUEST_MAX_TOKENS: 100,
        a.REQUEST_SEED: -7,
        a.REQUEST_CHOICE_COUNT: 3,
        a.REQUEST_STOP_SEQUENCES: ("a", "b"),
        a.REQUEST_SERVICE_TIER: "flex",
    }


@pytest.mark.parametrize(
    ("body", "parameters"),
    [
        ({"n": 1}, {}),
        ({"stop": "END"}, {a.REQUEST_STOP_SEQUENCES: ("END",)}),
        ({"stop": None, "temperature": None, "seed": None}, {}),
        ({"max_tokens": 5}, {a.REQUEST_MAX_TOKENS: 5}),
        ({"temperature": True, "seed": False, "n": 2.5, "max_tokens": "5", "stop": [1, None], "service_tier": 1}, {}),
        ({"temperature": 10**400, "seed": 2**63, "max_tokens": -(10**400)}, {}),
    ],
)
def test_defaults_and_invalid_parameters_are_left_out(body: dict[str, Any], parameters: dict[str, Any]) -> None:
    """Defaults, nulls and values of the wrong type are no attributes."""
    assert CHAT.read_request(body).parameters == parameters


def test_a_request_without_messages_has_no_prompt() -> None:
    """Null messages are a prompt; absent ones are none."""
    assert CHAT.read_request({}).prompt is None
    assert CHAT.read_request({"messages": None}).prompt == "null"
    assert CHAT.read_request({"stream": "true"}).stream is False


def test_parallel_tool_calls_are_merged() -> None:
    """Interleaved pieces of several calls are joined, in the order of the calls."""
    answer = stream(
        chunk({"role": "assistant", "content": None}),
        chunk(tool(1, id="call_b", name="weather", type="function")),
        chunk(tool(0, id="call_a", name="time", type="function")),
        chunk(tool(0, '{"zone"')),
        chunk(tool(1, '{"city":')),
        chunk(tool(0, ':"UTC"}', id="", name="")),
        chunk(tool(1, '"Köln"}', id=None)),
        chunk({}, "tool_calls"),
    )
    calls = [ToolCall("call_a", "time", '{"zone":"UTC"}'), ToolCall("call_b", "weather", '{"city":"Köln"}')]
    assert answer.choices == [Choice(0, tool_calls=calls, finish_reason="tool_calls")]


def test_tool_calls_without_an_index_are_separate() -> None:
    """A delta may hold several pieces; those without an index are separate calls."""
    pieces = [{"id": name, "function": {"name": name, "arguments": "{}"}} for name in "ab"]
    (choice,) = stream(chunk({"tool_calls": pieces})).choices
    assert choice.tool_calls == [ToolCall("a", "a", "{}"), ToolCall("b", "b", "{}")]


def test_choices_are_separate_and_ordered() -> None:
    """With n > 1, interleaved deltas are merged per choice, and choices are ordered by index."""
    answer = stream(
        chunk({"content": "z"}, index=2),
        chunk({"content": "a"}, index=0),
        {"choices": [*chunk({"content": "m"}, index=1)["choices"], *chunk({"content": "b"}, index=0)["choices"]]},
        chunk({}, "length", index=2),
        chunk({}, "stop", index=0),
        chunk({}, "stop", index=1),
    )
    expected = [Choice(0, "ab", finish_reason="stop"), Choice(1, "m", finish_reason="stop")]
    assert answer.choices == [*expected, Choice(2, "z", finish_reason="length")]
    turned = whole(choices=[{"index": index, "message": {"content": f"{index}"}} for index in (2, 0, 1)])
    assert [choice.content for choice in turned.choices] == ["0", "1", "2"]


def test_refusal_and_reasoning_are_not_content() -> None:
    """They have fields of their own, in streams and in whole answers."""
    parts = {"refusal": "I can't", "reasoning_content": "Hm, no", "content": None}
    (expected,) = whole(choices=[{"index": 0, "message": parts, "finish_reason": "stop"}]).choices
    assert expected == Choice(0, "", "I can't", "Hm, no", finish_reason="stop")
    pieces = [{"reasoning_content": "Hm,"}, {"reasoning_content": " no"}, {"refusal": "I "}, {"refusal": "can't"}]
    assert stream(*map(chunk, pieces), chunk({}, "stop")).choices == [expected]


def test_asynchronous_filter_chunks_change_only_verdicts() -> None:
    """Chunks without delta, with empty id and model, add verdicts and replace neither text nor identity."""
    found = {
        "choices": [
            {
                "content_filter_offsets": {"check_offset": 0, "start_offset": 0, "end_offset": 5},
                "content_filter_results": {"hate": {"filtered": False, "severity": "low"}},
                "finish_reason": None,
                "index": 0,
            }
        ],
        "id": "",
        "model": "",
        "object": "",
    }
    prompt = {"choices": [], "id": "", "model": "", "prompt_filter_results": [{"content_filter_results": SAFE}]}
    answer = stream(prompt, chunk({"content": "Hello"}), found, chunk({}, "stop"), found)
    assert answer.choices == [Choice(0, "Hello", finish_reason="stop")]
    assert (answer.id, answer.model) == (CHUNK["id"], CHUNK["model"])
    assert answer.system_fingerprint == CHUNK["system_fingerprint"]
    assert answer.content_filter == {
        "prompt": SAFE,
        "completion": {"hate": {"filtered": False, "severity": "low"}},
    }


def test_empty_or_invalid_values_replace_nothing() -> None:
    """An empty or invalid id, model or usage keeps the known one."""
    counts = {"usage": {"prompt_tokens": 3}}
    answer = stream(chunk(), {**CHUNK, "id": ""}, {**CHUNK, "model": ""}, counts, {"usage": {"odd": 1}}, {"id": 7})
    assert (answer.id, answer.model, answer.usage) == (CHUNK["id"], CHUNK["model"], Usage(3))


def test_a_blocking_verdict_stays() -> None:
    """Later verdicts replace earlier ones of their category, except for one that blocked."""
    verdicts = [
        {"hate": {"filtered": True, "severity": "high"}, "violence": {"filtered": False, "severity": "safe"}},
        {"hate": {"filtered": False, "severity": "safe"}, "violence": {"filtered": False, "severity": "low"}},
    ]
    answer = stream(*({"choices": [{"index": 0, "content_filter_results": verdict}]} for verdict in verdicts))
    assert answer.content_filter["completion"] == {
        "hate": {"filtered": True, "severity": "high"},
        "violence": {"filtered": False, "severity": "low"},
    }


def test_a_filtered_choice_may_have_no_message() -> None:
    """It is a choice without text."""
    answer = whole(choices=[{"index": 0, "finish_reason": "content_filter", "content_filter_results": SAFE}])
    assert answer.choices == [Choice(0, finish_reason="content_filter")]


@pytest.mark.parametrize(
    ("given_usage", "usage"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}, Usage(3, 4, 7)),
        ({"prompt_tokens": 3, "total_tokens": 3}, Usage(3, None, 3)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, Usage(0, 0, 0)),
        (
            {
                "input_tokens": 9,
                "input_token_details": {"cached_tokens": 4, "cached_tokens_details": {"audio_tokens": 3}},
            },
            Usage(9, None, None, {"input_token_details": {"cached_tokens": 4, "cached_audio_tokens": 3}}),
        ),
        (
            {"prompt_tokens": 3, "completion_tokens_details": {"reasoning_tokens": 2, "odd": None, "flag": True}},
            Usage(3, None, None, {"completion_tokens_details": {"reasoning_tokens": 2}}),
        ),
        ({"prompt_tokens": 3, "completion_tokens_details": None}, Usage(3)),
        ({"input_tokens": 5, "output_tokens": 6}, Usage(5, 6)),
        (None, None),
        ({}, None),
        ([3], None),
        ({"completion_tokens": 4}, None),
        ({"prompt_tokens": "3"}, None),
        ({"prompt_tokens": True}, None),
        ({"prompt_tokens": -1}, None),
        ({"prompt_tokens": 2**64}, None),
    ],
)
def test_usage_is_read(given_usage: Any, usage: Usage | None) -> None:
    """Counts and details are kept; without a prompt count there is no usage, and no missing count becomes zero."""
    assert whole(choices=[], usage=given_usage).usage == usage
    assert stream({"usage": None}, {"choices": [], "usage": given_usage}, {"usage": None}).usage == usage


def test_tokens_are_recognized() -> None:
    """Generated text, reasoning, refusals and tool calls in any choice are tokens; nothing else is."""
    reader = CHAT.stream()
    nothing: list[dict[str, Any]] = [
        {},
        {"role": "assistant", "content": ""},
        {"content": None},
        {"tool_calls": []},
        {"content": 1},
    ]
    for bare in nothing:
        assert reader.event(chunk(bare)) is False
    for generated in ({"content": "x"}, {"refusal": "x"}, {"reasoning_content": "x"}, tool(0, "{")):
        assert reader.event(chunk(generated)) is True
    assert reader.event({"choices": [chunk({})["choices"][0], chunk({"content": "x"}, index=1)["choices"][0]]}) is True
