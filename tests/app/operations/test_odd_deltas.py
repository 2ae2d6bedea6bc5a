"""Deltas and usage as servers other than Azure send them."""

from typing import Any

import pytest

from app.operations.chat import Chat
from app.operations.responses import Responses
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


NOT_RUN = {"error": {"code": "content_filter_error", "message": "The contents are not filtered"}}


def test_the_content_filters_error_on_a_choice_is_recorded() -> None:
    """Azure puts it in `content_filter_result`, singular, when the filter did not run; its message is left out."""
    expected = {"completion": {"error": {"code": "content_filter_error"}}}
    choice = {"index": 0, "content_filter_result": NOT_RUN}
    assert streamed({"id": "c", "choices": [{**choice, "delta": {"content": "a"}}]}).content_filter == expected
    whole = Answer()
    Chat().read_answer({"choices": [{**choice, "message": {"content": "a"}}]}, whole)
    assert whole.content_filter == expected


ITEMS: dict[str, tuple[dict[str, Any], ToolCall | None]] = {
    "apply_patch_call": (
        {"call_id": "c1", "operation": {"type": "delete_file", "path": "a"}},
        ToolCall("c1", "apply_patch", '{"type":"delete_file","path":"a"}'),
    ),
    "computer_call": (
        {"id": "i", "call_id": "c1", "action": {"type": "wait"}},
        ToolCall("c1", "computer", '{"type":"wait"}'),
    ),
    "computer_call in actions": (
        {"call_id": "c1", "action": None, "actions": [{"type": "wait"}]},
        ToolCall("c1", "computer", '[{"type":"wait"}]'),
    ),
    "shell_call": (
        {"call_id": "c1", "action": {"commands": ["ls"]}, "environment": {"type": "local"}},
        ToolCall("c1", "shell", '{"commands":["ls"]}'),
    ),
    "local_shell_call": (
        {"call_id": "c1", "action": {"type": "exec", "command": ["ls"]}},
        ToolCall("c1", "local_shell", '{"type":"exec","command":["ls"]}'),
    ),
    "mcp_approval_request": (
        {"id": "mcpr_1", "name": "pay", "arguments": '{"eur":5}', "server_label": "bank"},
        ToolCall("mcpr_1", "pay", '{"eur":5}'),
    ),
    "tool_search_call": (
        {"call_id": "c1", "execution": "client", "arguments": {"q": "a"}},
        ToolCall("c1", "tool_search", '{"q":"a"}'),
    ),
    "custom_tool_call": ({"call_id": "c1", "name": "f", "arguments": None, "input": "x"}, ToolCall("c1", "f", "x")),
    "shell_call in a container": (
        {"call_id": "c1", "action": {"commands": ["ls"]}, "environment": {"type": "container_reference"}},
        None,
    ),
    "tool_search_call of the service": ({"call_id": None, "execution": "server", "arguments": {}}, None),
    "web_search_call": ({"id": "ws_1", "action": {"type": "search"}}, None),
    "code_interpreter_call": ({"id": "ci_1", "code": "1"}, None),
    "mcp_call": ({"id": "mcp_1", "name": "pay", "arguments": "{}", "output": "ok"}, None),
}


@pytest.mark.parametrize("name", ITEMS)
def test_calls_that_the_client_must_answer_are_tool_calls(name: str) -> None:
    """Those that the service answers are not; whole, and in a stream that breaks off after the item."""
    members, call = ITEMS[name]
    item = {"type": name.partition(" ")[0], **members}
    expected = ([call], "tool_calls") if call else ([], "stop")
    whole = Answer()
    Responses().read_answer({"status": "completed", "output": [item]}, whole)
    assert (whole.choices[0].tool_calls, whole.choices[0].finish_reason) == expected
    stream, broken = Responses().stream(), Answer()
    stream.event({"type": "response.created", "response": {"status": "in_progress", "output": []}})
    assert stream.event({"type": "response.output_item.added", "output_index": 0, "item": item})
    stream.finish(broken)
    assert broken.choices[0].tool_calls == expected[0]
