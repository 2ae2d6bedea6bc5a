"""Deltas and usage as servers other than Azure send them."""

from typing import Any

import pytest

from otel.call import Answer, ToolCall
from tests.app.operations import shapes
from tests.kit.wire import event


def delta(**said: Any) -> dict[str, Any]:
    return {"id": "c", "model": "m", "choices": [{"index": 0, "delta": said}]}


def tool(**piece: Any) -> dict[str, Any]:
    return delta(tool_calls=[piece])


def streamed(*events: dict[str, Any]) -> Answer:
    return shapes.streamed("chat/completions", *events)[0]


ONE, TWO = ToolCall("1", "f", '{"a":1}'), ToolCall("2", "g", "{}")


@pytest.mark.parametrize(
    ("pieces", "calls"),
    [
        (
            [
                {"index": 0, "id": "1", "function": {"name": "f", "arguments": '{"a":1}'}},
                {"index": 0, "id": "2", "function": {"name": "g", "arguments": "{}"}},
            ],
            [ONE, TWO],
        ),
        (
            [
                {"id": "1", "function": {"name": "f", "arguments": '{"a"'}},
                {"function": {"arguments": ":1}"}},
                {"id": "2", "function": {"name": "g", "arguments": "{}"}},
            ],
            [ONE, TWO],
        ),
        (
            [
                {"index": 0, "id": "1", "function": {"name": "f", "arguments": '{"a"'}},
                {"index": 0, "id": "1", "function": {"arguments": ":1}"}},
            ],
            [ONE],
        ),
        ([{"index": 0, "id": "1", "function": None, "custom": {"name": "f", "input": '{"a":1}'}}], [ONE]),
        ([{"index": 0, "id": "1", "function": {"name": "f", "arguments": None, "input": '{"a":1}'}}], [ONE]),
    ],
    ids=["two calls at one index", "no index", "the id in each piece", "null beside custom", "null beside input"],
)
def test_pieces_of_tool_calls_find_their_call(pieces: list[dict[str, Any]], calls: list[ToolCall]) -> None:
    """An id tells calls apart, a piece without index continues the last call, and a null hides no other member."""
    assert streamed(*(tool(**piece) for piece in pieces)).choices[0].tool_calls == calls


def test_reasoning_has_two_names() -> None:
    """`reasoning` is read where there is no `reasoning_content`."""
    assert streamed(delta(reasoning="Hm"), delta(reasoning=" yes")).choices[0].reasoning == "Hm yes"
    both = streamed(delta(reasoning="Hm", reasoning_content="Hm"))
    assert both.choices[0].reasoning == "Hm"


def test_content_may_come_in_parts() -> None:
    """The texts of a list of parts are the content, in a delta and in a message."""
    parts = [{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}]
    assert streamed(delta(content=parts), delta(content="c")).choices[0].content == "abc"
    message = {"choices": [{"index": 0, "message": {"content": parts}}]}
    assert shapes.whole("chat/completions", message).choices[0].content == "ab"


def test_a_character_in_two_events_is_one() -> None:
    """A surrogate pair that JSON escapes carry apart is one character; a lone surrogate stays."""
    answer = streamed(delta(content="a\ud83d"), delta(content="\ude00b"), delta(content="\ud83d"))
    assert answer.choices[0].content == "a\U0001f600b\ud83d"


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": None, "input_tokens": 5, "completion_tokens": None, "output_tokens": 7},
        {"prompt_tokens": 5.0, "completion_tokens": 7.0},
    ],
)
def test_counts_are_found(usage: dict[str, Any]) -> None:
    """A null hides no other name, and 5.0 is 5."""
    found = shapes.whole("chat/completions", {"choices": [], "usage": usage}).usage
    assert found is not None
    assert (found.prompt_tokens, found.completion_tokens) == (5, 7)
    assert type(found.prompt_tokens) is int


def test_done_may_have_a_blank() -> None:
    """`[DONE] ` ends a stream too."""
    call = shapes.read("chat/completions", [event(delta(content="a")), b"data: [DONE] \n\n"], shapes.SSE)
    assert (call.status, call.error_code) == ("completed", None)
