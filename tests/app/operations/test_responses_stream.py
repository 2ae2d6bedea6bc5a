"""Streams of the Responses API: the last event has everything; without it, the deltas count."""

from typing import Any

import pytest

from app.answer.reader import AnswerReader
from otel.call import Answer, Call, Choice, Status, ToolCall
from tests.app.operations.conftest import Through
from tests.app.operations.shapes import (
    BLOCKED,
    CALL_ITEM,
    CONTENT_FILTERS,
    MESSAGE_ITEM,
    REASONING_ITEM,
    SSE,
    api_event,
    named,
    operation,
    read,
    response,
    response_events,
    streamed,
)

OUTPUT = (REASONING_ITEM, MESSAGE_ITEM, CALL_ITEM)
COMPLETED = api_event("completed", response=response(*OUTPUT, content_filters=CONTENT_FILTERS))
CHOICE = Choice(
    content="Paris ✨, France",
    reasoning="Weigh it.\n\nDecide.\n\nIt is so.",
    tool_calls=[ToolCall("call_1", "capital", '{"of":"F"}')],
    finish_reason="tool_calls",
)
BODY = {"model": "my-gpt", "input": "Capital?", "stream": True}
PATH = "/openai/v1/responses"


def test_the_last_event_has_everything() -> None:
    """A complete stream reads like the response in its last event."""
    answer, ended = streamed("responses", *response_events(COMPLETED))
    alone, _ = streamed("responses", COMPLETED)
    assert ended is True
    assert answer == alone
    assert answer.choices == [CHOICE]
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (18, 25)
    assert answer.content_filter["completion"] == BLOCKED


def test_without_the_last_event_the_deltas_count() -> None:
    """A stream that was cut off has the output that arrived and the identity, but no usage or finish reason."""
    answer, ended = streamed("responses", *response_events(None))
    assert ended is False
    assert answer == Answer(
        id="resp_0a1b",
        model="gpt-5.4-2026-03-05",
        service_tier="default",
        status="in_progress",
        choices=[Choice(CHOICE.index, CHOICE.content, "", CHOICE.reasoning, CHOICE.tool_calls)],
    )


def test_a_last_event_without_output_keeps_the_deltas() -> None:
    """If the last event has no output, that of the other events counts; all else comes from the last."""
    answer, ended = streamed("responses", *response_events(api_event("completed", response=response())))
    assert (answer.choices, ended) == ([CHOICE], True)
    assert answer.usage is not None


@pytest.mark.parametrize("count", range(len(response_events(None)) + 1))
def test_a_stream_cut_off_anywhere_gives_a_prefix(count: int) -> None:
    """However much of a stream arrived, its output is a prefix of the whole."""
    answer, ended = streamed("responses", *response_events(COMPLETED)[:count])
    (choice,) = answer.choices
    assert CHOICE.content.startswith(choice.content)
    assert CHOICE.reasoning.startswith(choice.reasoning)
    assert all(CHOICE.tool_calls[0].arguments.startswith(call.arguments) for call in choice.tool_calls)
    assert ended is False


@pytest.mark.parametrize("kind", ["completed", "incomplete", "failed", "cancelled"])
def test_every_terminal_event_ends_the_stream(kind: str) -> None:
    """Completed, incomplete, failed and cancelled all end a stream."""
    last = api_event(kind, response=response(MESSAGE_ITEM, status=kind))
    assert streamed("responses", *response_events(last))[1] is True


@pytest.mark.parametrize(
    ("event", "token"),
    [
        (api_event("created", response={}), False),
        (api_event("output_item.added", item={"type": "message"}), False),
        (api_event("output_item.added", item={"type": "reasoning"}), False),
        (api_event("output_item.added", item={"type": "function_call", "name": "f"}), True),
        (api_event("output_item.added", item={"type": "web_search_call"}), True),
        (api_event("content_part.added", part={"type": "output_text", "text": ""}), False),
        (api_event("output_text.delta", delta="x"), True),
        (api_event("output_text.delta", delta=""), False),
        (api_event("refusal.delta", delta="x"), True),
        (api_event("reasoning_summary_text.delta", delta="x"), True),
        (api_event("reasoning_text.delta", delta="x"), True),
        (api_event("function_call_arguments.delta", delta="{"), True),
        (api_event("custom_tool_call_input.delta", delta="ls"), True),
        (api_event("mcp_call_arguments.delta", delta="{"), True),
        (api_event("code_interpreter_call_code.delta", delta="1"), True),
        (api_event("audio.delta", delta="UklG"), False),
        (api_event("output_text.done", text="x"), False),
        (COMPLETED, False),
        ({"type": ["odd"], "delta": "x"}, False),
        ({"delta": "x"}, False),
    ],
)
def test_tokens_are_recognized(event: dict[str, Any], token: bool) -> None:
    """Text, reasoning, refusals and tool calls are tokens; announcements, repetitions and audio are not."""
    assert operation("responses").stream().event(event) is token


def test_a_custom_tool_call_is_joined_from_deltas() -> None:
    """Without its last event, its input is what arrived."""
    added = {"type": "custom_tool_call", "call_id": "call_2", "name": "run", "input": ""}
    pieces = [api_event("custom_tool_call_input.delta", output_index=0, delta=piece) for piece in ("ls", " -l")]
    answer, _ = streamed("responses", api_event("output_item.added", output_index=0, item=added), *pieces)
    assert answer.choices[0].tool_calls == [ToolCall("call_2", "run", "ls -l")]


FAILED = response(MESSAGE_ITEM, status="failed", error={"code": "server_error", "message": "Sorry."})


@pytest.mark.parametrize(
    ("event", "code", "message"),
    [
        ({"type": "error", "code": "rate_limit", "message": "Wait.", "param": None}, "rate_limit", "Wait."),
        ({"type": "error", "code": None, "message": "Sorry."}, "error", "Sorry."),
        ({"type": "error", "error": {"type": "server_error", "message": "Sorry."}}, "server_error", "Sorry."),
        ({"error": {"code": "x", "message": "y"}}, "x", "y"),
        (api_event("failed", response=FAILED), "server_error", "Sorry."),
        (api_event("failed", response={"status": "failed", "error": None}), "failed", None),
    ],
)
def test_an_error_event_fails_the_call(event: dict[str, Any], code: str, message: str | None) -> None:
    """An error event in any form makes the call an upstream error; the text before it is kept."""
    events = response_events(None)[:13]
    call = read("responses", [named({"type": "", **one}) for one in (*events, event)], SSE)
    assert (call.status, call.error_code, call.error_message) == (Status.UPSTREAM_ERROR, code, message)
    assert call.answer.choices[0].content.startswith("Paris ✨")


def test_an_error_event_takes_precedence_over_a_disconnect() -> None:
    """It is read when it arrives, before upstream breaks the connection."""
    call = Call(operation="chat", http_status=200)
    reader = AnswerReader(call, operation("responses"), SSE, None, True)
    for one in response_events(None):
        reader.feed(named(one))
    assert call.status is Status.COMPLETED
    reader.feed(named({"type": "error", "code": "server_error", "message": "Sorry."}))
    call.fail(Status.UPSTREAM_CUT, "connection_broken", None)
    reader.close(False)
    assert (call.status, call.error_code) == (Status.UPSTREAM_ERROR, "server_error")


def test_a_stream_passes_and_is_recorded(through: Through) -> None:
    """A stream with `event:` lines and without [DONE] passes unchanged, and the record is complete."""
    events = response_events(COMPLETED)
    record = through(PATH, BODY, [named(one) for one in events], SSE)
    assert (record["type"], record["status"], record["operation"]) == ("stream_completion", "completed", "chat")
    assert (record["content"], record["reasoning"]) == (CHOICE.content, CHOICE.reasoning)
    assert record["tool_calls"] == [{"id": "call_1", "name": "capital", "arguments": '{"of":"F"}'}]
    assert record["finish_reasons"] == ["tool_calls"]
    assert record["chunks"] == len(events)
    assert record["usage"]["output_tokens_details"] == {"reasoning_tokens": 20}
    assert record["time_to_first_chunk_ms"] <= record["time_to_first_token_ms"] <= record["latency_ms"]
    assert (record["deployment"], record["model"]) == ("my-gpt", "gpt-5.4-2026-03-05")
