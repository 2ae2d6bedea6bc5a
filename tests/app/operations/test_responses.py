"""The Responses API: a whole answer is one choice, in the terms of chat completions."""

import json
from typing import Any

import pytest

from otel import attributes as a
from otel.call import Choice, Status, ToolCall, Usage
from tests.app.operations.conftest import Through
from tests.app.operations.shapes import (
    BLOCKED,
    CALL_ITEM,
    CONTENT_FILTERS,
    CUSTOM_ITEM,
    HOSTED_ITEMS,
    MESSAGE_ITEM,
    REASONING_ITEM,
    REFUSAL_ITEM,
    RESPONSE,
    SAFE,
    operation,
    read,
    response,
    whole,
)

PATHS = ["/openai/v1/responses", "/openai/responses?api-version=2025-04-01-preview"]
INPUT = [{"role": "user", "content": [{"type": "input_text", "text": "Capital of France? ✨"}]}]
USAGE = {
    "prompt_tokens": 18,
    "completion_tokens": 25,
    "total_tokens": 43,
    "input_tokens_details": {"cached_tokens": 16},
    "output_tokens_details": {"reasoning_tokens": 20},
}


def test_request_facts_are_read() -> None:
    """Model, stream, the unchanged input, the instructions and sampling parameters."""
    body = {
        "model": "gpt-5.4",
        "input": INPUT,
        "instructions": "Be brief.",
        "stream": True,
        "max_output_tokens": 100,
        "temperature": 0.5,
        "text": {"format": {"type": "json_schema", "name": "x", "schema": {}}},
        "tools": [],
    }
    request = operation("responses").read_request(body)
    assert (request.model, request.stream, request.instructions) == ("gpt-5.4", True, '"Be brief."')
    assert json.loads(request.prompt or "") == INPUT
    assert request.parameters == {a.REQUEST_MAX_TOKENS: 100, a.REQUEST_TEMPERATURE: 0.5, a.OUTPUT_TYPE: "json"}


@pytest.mark.parametrize(
    ("body", "prompt", "instructions"),
    [
        ({"input": "Hello"}, '"Hello"', None),
        ({"input": "Hello", "instructions": None}, '"Hello"', None),
        ({"input": "Hello", "instructions": ""}, '"Hello"', None),
        ({"input": "Hello", "prompt": {"id": "pmpt_1"}}, '"Hello"', None),
        ({"prompt": {"id": "pmpt_1"}}, '{"id":"pmpt_1"}', None),
        ({"instructions": [{"role": "developer", "content": "x"}]}, None, '[{"role":"developer","content":"x"}]'),
        ({"previous_response_id": "resp_0"}, None, None),
    ],
)
def test_input_is_the_prompt(body: dict[str, Any], prompt: str | None, instructions: str | None) -> None:
    """The prompt is `input`, else a stored prompt; instructions are separate, and None if empty."""
    request = operation("responses").read_request(body)
    assert (request.prompt, request.instructions) == (prompt, instructions)


def test_the_output_is_one_choice() -> None:
    """Output text is joined, reasoning joins texts and summaries, refusals and tool calls have their own fields."""
    answer = whole("responses", response(REASONING_ITEM, MESSAGE_ITEM, REFUSAL_ITEM, CALL_ITEM, CUSTOM_ITEM))
    assert answer.choices == [
        Choice(
            content="Paris ✨, France",
            refusal="I can't.",
            reasoning="Weigh it.\n\nDecide.\n\nIt is so.",
            tool_calls=[ToolCall("call_1", "capital", '{"of":"F"}'), ToolCall("call_2", "run", "ls -l")],
            finish_reason="tool_calls",
        )
    ]
    assert (answer.id, answer.model, answer.service_tier) == ("resp_0a1b", "gpt-5.4-2026-03-05", "default")
    details = {"input_tokens_details": {"cached_tokens": 16}, "output_tokens_details": {"reasoning_tokens": 20}}
    assert answer.usage == Usage(18, 25, 43, details)


def test_hosted_tools_are_left_out() -> None:
    """Tools that the service runs are no tool calls, and generated images are not recorded."""
    (choice,) = whole("responses", response(*HOSTED_ITEMS, MESSAGE_ITEM)).choices
    assert choice == Choice(content="Paris ✨, France", finish_reason="stop")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (response(MESSAGE_ITEM), "stop"),
        (response(MESSAGE_ITEM, CALL_ITEM), "tool_calls"),
        (response(MESSAGE_ITEM, status="incomplete", incomplete_details={"reason": "max_output_tokens"}), "length"),
        (response(status="incomplete", incomplete_details={"reason": "content_filter"}), "content_filter"),
        (response(status="incomplete", incomplete_details={"reason": "max_messages"}), "max_messages"),
        (response(status="incomplete", incomplete_details=None), "incomplete"),
        (response(status="cancelled"), "cancelled"),
        (response(status="failed"), "failed"),
        (response(status="queued"), None),
        (response(status=7), None),  # type: ignore[arg-type]
    ],
)
def test_finish_reasons_use_the_terms_of_chat(body: dict[str, Any], reason: str | None) -> None:
    """Ends without an equivalent in chat completions keep their names."""
    assert [choice.finish_reason for choice in whole("responses", body).choices] == [reason]


def test_verdicts_are_separated_by_subject() -> None:
    """Each verdict is on the prompt or on the answer."""
    answer = whole("responses", response(content_filters=CONTENT_FILTERS))
    assert answer.content_filter == {"prompt": SAFE, "completion": BLOCKED}
    assert whole("responses", response(content_filters=[{"source_type": ["x"]}, 1])).content_filter == {}


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (response(status="failed", error={"code": "server_error", "message": "Sorry."}), "server_error", "Sorry."),
        (response(status="failed"), "failed", None),
        ({"error": {"type": "invalid_request_error", "message": "No."}}, "invalid_request_error", "No."),
    ],
)
def test_a_failed_response_is_an_upstream_error(body: dict[str, Any], code: str, message: str | None) -> None:
    """A failed response is an error despite its status of 200; its facts are kept."""
    call = read("responses", [json.dumps(body).encode()])
    assert (call.status, call.error_code, call.error_message) == (Status.UPSTREAM_ERROR, code, message)
    assert call.answer.id == body.get("id")


@pytest.mark.parametrize("body", [response(MESSAGE_ITEM), RESPONSE, response(status="cancelled")])
def test_other_ends_are_no_errors(body: dict[str, Any]) -> None:
    """`"error": null` and a response that has not ended are no errors."""
    assert read("responses", [json.dumps(body).encode()]).status is Status.COMPLETED


@pytest.mark.parametrize("path", PATHS)
def test_a_response_passes_and_is_recorded(through: Through, path: str) -> None:
    """Under either path, the response passes unchanged and the record is complete."""
    body = response(REASONING_ITEM, MESSAGE_ITEM, CALL_ITEM, *HOSTED_ITEMS, content_filters=CONTENT_FILTERS)
    sent = {"model": "my-gpt", "input": INPUT, "instructions": "Be brief."}
    record = through(path, sent, json.dumps(body).encode())
    assert (record["operation"], record["type"], record["status"]) == ("chat", "completion", "completed")
    assert (record["deployment"], record["model"]) == ("my-gpt", "gpt-5.4-2026-03-05")
    assert (record["prompt"], record["instructions"]) == (INPUT, "Be brief.")
    assert (record["content"], record["reasoning"]) == ("Paris ✨, France", "Weigh it.\n\nDecide.\n\nIt is so.")
    assert record["tool_calls"] == [{"id": "call_1", "name": "capital", "arguments": '{"of":"F"}'}]
    assert record["finish_reasons"] == ["tool_calls"]
    assert (record["usage"], record["usage_source"]) == (USAGE, "reported")
    assert record["content_filter"] == {"prompt": SAFE, "completion": BLOCKED}
    assert (record["response_id"], record["service_tier"]) == ("resp_0a1b", "default")
    everything = json.dumps(record)
    assert "iVBORw0KGgo" not in everything
    assert "gAAAAsecret" not in everything
