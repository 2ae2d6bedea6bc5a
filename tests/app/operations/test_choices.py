"""Chat completions: bodies and deltas, right ones and wrong ones, become facts."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.operations.chat import Chat
from otel import attributes as a
from otel.call import Answer, Choice, ToolCall, Usage
from tests.kit.wire import CHUNK, SAFE

CHAT = Chat()


def whole(**body: Any) -> Answer:
    answer = Answer()
    CHAT.read_answer(body, answer)
    return answer


def stream(*events: dict[str, Any]) -> Answer:
    reader, answer = CHAT.stream(), Answer()
    for one in events:
        reader.event(one)
    reader.finish(answer)
    return answer


def chunk(content: dict[str, Any] | None = None, finish_reason: str | None = None, index: int = 0) -> dict[str, Any]:
    """A chunk of one choice, as the service sends it."""
    return {"choices": [{"index": index, "delta": content or {}, "finish_reason": finish_reason}], **CHUNK}


def tool(index: int, arguments: str = "", **more: Any) -> dict[str, Any]:
    name = {"name": more.pop("name")} if "name" in more else {}
    return {"tool_calls": [{"index": index, "function": {"arguments": arguments, **name}, **more}]}


def test_a_request_says_what_is_asked() -> None:
    """Model, stream, the messages as they were, and each sampling parameter under its attribute's name."""
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
def test_parameters_that_are_none(body: dict[str, Any], parameters: dict[str, Any]) -> None:
    """Defaults, nulls and what is of another type are no attributes."""
    assert CHAT.read_request(body).parameters == parameters


def test_a_request_without_messages_has_no_prompt() -> None:
    """Null messages are what the client sent; absent ones are nothing."""
    assert CHAT.read_request({}).prompt is None
    assert CHAT.read_request({"messages": None}).prompt == "null"
    assert CHAT.read_request({"stream": "true"}).stream is False


def test_parallel_tool_calls_are_merged() -> None:
    """Pieces of several calls, however they alternate, become the calls in their order."""
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


def test_several_tool_calls_in_one_delta() -> None:
    """A delta may hold more than one piece, and pieces without an index are calls of their own."""
    pieces = [{"id": name, "function": {"name": name, "arguments": "{}"}} for name in "ab"]
    (choice,) = stream(chunk({"tool_calls": pieces})).choices
    assert choice.tool_calls == [ToolCall("a", "a", "{}"), ToolCall("b", "b", "{}")]


def test_choices_keep_apart_and_come_in_order() -> None:
    """With n > 1 the choices' deltas alternate in any order; each choice is whole, in the order of the index."""
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
    """What the model refused or thought has its own place, in streams and in whole answers."""
    parts = {"refusal": "I can't", "reasoning_content": "Hm, no", "content": None}
    (expected,) = whole(choices=[{"index": 0, "message": parts, "finish_reason": "stop"}]).choices
    assert expected == Choice(0, "", "I can't", "Hm, no", finish_reason="stop")
    pieces = [{"reasoning_content": "Hm,"}, {"reasoning_content": " no"}, {"refusal": "I "}, {"refusal": "can't"}]
    assert stream(*map(chunk, pieces), chunk({}, "stop")).choices == [expected]


def test_an_asynchronous_filter_changes_nothing_but_verdicts() -> None:
    """Chunks without delta, with empty id and model, add their verdicts and replace neither text nor identity."""
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


def test_what_is_empty_or_odd_replaces_nothing() -> None:
    """An id, a model or a usage that says nothing leaves what is known."""
    counts = {"usage": {"prompt_tokens": 3}}
    answer = stream(chunk(), {**CHUNK, "id": ""}, {**CHUNK, "model": ""}, counts, {"usage": {"odd": 1}}, {"id": 7})
    assert (answer.id, answer.model, answer.usage) == (CHUNK["id"], CHUNK["model"], Usage(3))


def test_a_verdict_that_blocked_stays() -> None:
    """Later verdicts replace earlier ones of their category, unless that one blocked."""
    verdicts = [
        {"hate": {"filtered": True, "severity": "high"}, "violence": {"filtered": False, "severity": "safe"}},
        {"hate": {"filtered": False, "severity": "safe"}, "violence": {"filtered": False, "severity": "low"}},
    ]
    answer = stream(*({"choices": [{"index": 0, "content_filter_results": verdict}]} for verdict in verdicts))
    assert answer.content_filter["completion"] == {
        "hate": {"filtered": True, "severity": "high"},
        "violence": {"filtered": False, "severity": "low"},
    }


def test_a_filtered_answer_may_have_no_message() -> None:
    """finish_reason content_filter without a message is a choice without text."""
    answer = whole(choices=[{"index": 0, "finish_reason": "content_filter", "content_filter_results": SAFE}])
    assert answer.choices == [Choice(0, finish_reason="content_filter")]


@pytest.mark.parametrize(
    ("given_usage", "usage"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}, Usage(3, 4, 7)),
        ({"prompt_tokens": 3, "total_tokens": 3}, Usage(3, None, 3)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, Usage(0, 0, 0)),
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
def test_usage_is_what_upstream_counted(given_usage: Any, usage: Usage | None) -> None:
    """Counts and details are taken over; without a prompt count there is no usage, and nothing becomes zero."""
    assert whole(choices=[], usage=given_usage).usage == usage
    assert stream({"usage": None}, {"choices": [], "usage": given_usage}, {"usage": None}).usage == usage


def test_an_event_tells_whether_it_holds_a_token() -> None:
    """`event` is true for generated text, reasoning, refusals and tool calls, in any choice, and for nothing else."""
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


KEYS = st.sampled_from(
    """id model choices index delta message content refusal reasoning_content tool_calls function name arguments usage
    finish_reason prompt_tokens total_tokens completion_tokens_details prompt_filter_results content_filter_results
    hate filtered messages stream stop temperature seed n max_tokens service_tier""".split()  # noqa: SIM905
)

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)

OBJECTS = st.dictionaries(KEYS, ANYTHING, max_size=6)

CHOICES = st.lists(st.dictionaries(KEYS, OBJECTS | ANYTHING, max_size=4), max_size=2)

BODIES = OBJECTS | st.builds(lambda body, choices: {**body, "choices": choices}, OBJECTS, CHOICES)


@settings(deadline=None)
@given(body=OBJECTS)
def test_no_request_fails(body: dict[str, Any]) -> None:
    """A request may hold anything anywhere: what is not understood is upstream's to judge."""
    request = CHAT.read_request(body)
    assert request.stream is (body.get("stream") is True)
    assert all(isinstance(value, str | int | float | tuple) for value in request.parameters.values())


@settings(deadline=None)
@given(bodies=st.lists(BODIES, max_size=3))
def test_no_answer_fails(bodies: list[dict[str, Any]]) -> None:
    """An answer or an event may hold anything anywhere; what comes of it has the types that it must have."""
    for answer in (*(whole(**body) for body in bodies), stream(*bodies)):
        assert [choice.index for choice in answer.choices] == sorted(choice.index for choice in answer.choices)
        for choice in answer.choices:
            assert 0 <= choice.index < 2**63
            assert isinstance(choice.content + choice.refusal + choice.reasoning, str)
            assert all(isinstance(call.name + call.arguments, str) for call in choice.tool_calls)
        assert answer.usage is None or answer.usage.prompt_tokens in range(2**63)
