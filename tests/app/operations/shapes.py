"""Answers of operations other than chat, as Azure OpenAI sends them, and functions to read those of any operation."""

from collections.abc import Iterable
from typing import Any

from app.answer.reader import AnswerReader
from app.operations import Operation
from app.operations.openai import OPENAI
from otel.call import Answer, Call
from tests.kit.wire import event

SAFE = {"hate": {"filtered": False, "severity": "safe"}, "violence": {"filtered": False, "severity": "safe"}}
BLOCKED = {"hate": {"filtered": True, "severity": "high"}, "violence": {"filtered": False, "severity": "safe"}}
SSE = "text/event-stream; charset=utf-8"
JSON = "application/json"

type Json = dict[str, Any]


def operation(suffix: str) -> Operation:
    return OPENAI.operation(OPENAI.target(f"/openai/v1/{suffix}"))


def whole(suffix: str, body: Json) -> Answer:
    """The facts of a whole answer."""
    answer = Answer()
    operation(suffix).read_answer(body, answer)
    return answer


def streamed(suffix: str, *events: Json) -> tuple[Answer, bool]:
    """The facts of a stream, and whether its last event arrived."""
    reader, answer = operation(suffix).stream(), Answer()
    for one in events:
        reader.event(one)
    return answer, reader.finish(answer)


def read(suffix: str, pieces: Iterable[bytes], content_type: str = JSON, status: int = 200, **more: Any) -> Call:
    """The call of an operation whose response arrived in these chunks."""
    call = Call(operation=operation(suffix).name, http_status=status)
    reader = AnswerReader(call, operation(suffix), content_type, more.get("encoding"), status < 400)
    for piece in pieces:
        reader.feed(piece)
    reader.close(more.get("complete", True))
    return call


def named(payload: Json) -> bytes:
    """A server-sent event with an `event` line, as the Responses API and audio frame theirs."""
    return f"event: {payload['type']}\n".encode() + event(payload)


RESPONSE: Json = {
    "id": "resp_0a1b",
    "object": "response",
    "created_at": 1785164068,
    "status": "in_progress",
    "error": None,
    "incomplete_details": None,
    "content_filters": None,
    "instructions": "Be brief.",
    "model": "gpt-5.4-2026-03-05",
    "output": [],
    "service_tier": "default",
    "tools": [],
    "usage": None,
}
RESPONSE_USAGE = {
    "input_tokens": 18,
    "input_tokens_details": {"cached_tokens": 16},
    "output_tokens": 25,
    "output_tokens_details": {"reasoning_tokens": 20},
    "total_tokens": 43,
}
REASONING_ITEM = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "Weigh it."}, {"type": "summary_text", "text": "Decide."}],
    "content": [{"type": "reasoning_text", "text": "It is so."}],
    "encrypted_content": "gAAAAsecret",
}
MESSAGE_ITEM = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "status": "completed",
    "content": [
        {"type": "output_text", "text": "Paris ✨", "annotations": [], "logprobs": []},
        {"type": "output_text", "text": ", France", "annotations": [], "logprobs": []},
    ],
}
REFUSAL_ITEM = {"id": "msg_2", "type": "message", "content": [{"type": "refusal", "refusal": "I can't."}]}
CALL_ITEM = {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "capital", "arguments": '{"of":"F"}'}
CUSTOM_ITEM = {"id": "ctc_1", "type": "custom_tool_call", "call_id": "call_2", "name": "run", "input": "ls -l"}
HOSTED_ITEMS: list[Json] = [
    {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "q"}},
    {"id": "ig_1", "type": "image_generation_call", "status": "completed", "result": "iVBORw0KGgo" * 9},
    {"id": "mcp_1", "type": "mcp_call", "name": "find", "arguments": "{}", "output": "found", "server_label": "s"},
]
CONTENT_FILTERS = [
    {"blocked": False, "source_type": "prompt", "content_filter_raw": [], "content_filter_results": SAFE},
    {"blocked": True, "source_type": "completion", "content_filter_raw": [], "content_filter_results": BLOCKED},
]


def response(*output: Json, status: str = "completed", **more: Any) -> Json:
    """A response that has ended."""
    return {**RESPONSE, "status": status, "output": list(output), "usage": RESPONSE_USAGE, **more}


def api_event(kind: str, **more: Any) -> Json:
    """An event of the Responses API."""
    return {"type": f"response.{kind}", "sequence_number": 1, **more}


def response_events(last: Json | None) -> list[Json]:
    """The events of a response: a reasoning item, a message, a function call, and the last event if given."""
    reasoning = {"item_id": "rs_1", "output_index": 0}
    message = {"item_id": "msg_1", "output_index": 1, "content_index": 0, "logprobs": [], "obfuscation": "x8"}
    call = {"item_id": "fc_1", "output_index": 2, "obfuscation": "x8"}
    events = [
        api_event("created", response=RESPONSE),
        api_event("in_progress", response=RESPONSE),
        api_event("output_item.added", output_index=0, item={**REASONING_ITEM, "summary": [], "content": []}),
        api_event(
            "reasoning_summary_part.added", **reasoning, summary_index=0, part={"type": "summary_text", "text": ""}
        ),
        api_event("reasoning_summary_text.delta", **reasoning, summary_index=0, delta="Weigh"),
        api_event("reasoning_summary_text.delta", **reasoning, summary_index=0, delta=" it."),
        api_event("reasoning_summary_text.done", **reasoning, summary_index=0, text="Weigh it."),
        api_event("reasoning_summary_text.delta", **reasoning, summary_index=1, delta="Decide."),
        api_event("reasoning_text.delta", **reasoning, content_index=0, delta="It is so."),
        api_event("output_item.added", output_index=1, item={**MESSAGE_ITEM, "content": [], "status": "in_progress"}),
        api_event("content_part.added", **message, part={"type": "output_text", "text": ""}),
        api_event("output_text.delta", **message, delta="Paris"),
        api_event("output_text.delta", **message, delta=" ✨"),
        api_event("output_text.done", **message, text="Paris ✨"),
        api_event("output_text.delta", **{**message, "content_index": 1}, delta=", France"),
        api_event("output_item.added", output_index=2, item={**CALL_ITEM, "arguments": "", "status": "in_progress"}),
        api_event("function_call_arguments.delta", **call, delta='{"of"'),
        api_event("function_call_arguments.delta", **call, delta=':"F"}'),
        api_event("function_call_arguments.done", **call, arguments='{"of":"F"}'),
        api_event("output_item.done", output_index=2, item=CALL_ITEM),
    ]
    return [*events, last] if last else events
