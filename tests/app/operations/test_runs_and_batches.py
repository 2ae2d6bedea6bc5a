"""Runs of Assistants and batches: their usage is pending until a stream's last run or a later fetch tells it.

Shapes by openai-python 2.x (types/beta/threads/run.py, types/batch.py): no exchange with Azure was recorded.
"""

import json
from typing import Any

import pytest

from tests.app.operations.conftest import Through
from tests.kit.hub import HubReader
from tests.kit.upstream import Reply, Seen
from tests.kit.wire import DONE, client

RUNS = "/openai/threads/thread_1/runs"
VERSION = "?api-version=2024-05-01-preview"
USAGE = {"prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42}
BATCH_USAGE = {"input_tokens": 30, "output_tokens": 12, "total_tokens": 42}
BODY = {
    "assistant_id": "asst_1",
    "instructions": "Be brief.",
    "additional_messages": [{"role": "user", "content": "2 + 2?"}],
}


def run(status: str, **more: Any) -> dict[str, Any]:
    told = {"id": "run_1", "object": "thread.run", "thread_id": "thread_1", "model": "gpt-4o", "status": status}
    return {**told, "usage": None, "last_error": None, **more}


def event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def text(value: str) -> bytes:
    part = {"index": 0, "type": "text", "text": {"value": value}}
    return event("thread.message.delta", {"object": "thread.message.delta", "delta": {"content": [part]}})


def step(kind: str) -> bytes:
    calls = {"type": "tool_calls", "tool_calls": [{"id": "call_1", "type": kind, kind: {}}]}
    return event(
        "thread.run.step.completed", {"object": "thread.run.step", "status": "completed", "step_details": calls}
    )


CALL = {"id": "call_9", "type": "function", "function": {"name": "add", "arguments": "{}"}}
ACTION = {"submit_tool_outputs": {"tool_calls": [CALL]}}


@pytest.fixture
def fetched(upstream: Any, proxy: Any, hub: HubReader) -> Any:
    """The record of a GET with this answer."""

    def fetch(path: str, answer: dict[str, Any]) -> dict[str, Any]:
        async def script(request: Seen, reply: Reply) -> None:
            await reply.json(json.dumps(answer).encode())

        with client(proxy(upstream(script).url).url) as caller:
            sent = caller.send("GET", path)
            sent.read()
        return hub.record(sent.trace_id)

    return fetch


def test_a_streamed_run_tells_its_usage(through: Through) -> None:
    """Text, hosted calls and usage; the prompt is what the call adds to the thread."""
    events = [
        event("thread.run.created", run("queued")),
        step("file_search"),
        text("It is"),
        text(" 4."),
        event("thread.run.completed", run("completed", usage=USAGE)),
        b"event: done\n" + DONE,
    ]
    record = through(RUNS + VERSION, {**BODY, "stream": True}, events, "text/event-stream")
    assert (record["operation"], record["content"], record["usage_source"]) == ("invoke_agent", "It is 4.", "reported")
    assert (record["response_id"], record["model"], record["response_status"]) == ("run_1", "gpt-4o", "completed")
    assert record["usage"] == USAGE
    assert record["finish_reasons"] == ["stop"]
    assert (record["prompt"], record["instructions"]) == (BODY["additional_messages"], "Be brief.")
    assert record["request"] == {"assistant_id": "asst_1", "stream": True}
    assert record["hosted_calls"] == [{"type": "file_search_call", "id": "call_1", "status": "completed"}]
    assert record["units"] == {"file_search_calls": 1}
    assert record["time_to_first_token_ms"] is not None


@pytest.mark.parametrize("path", ["/openai/threads/runs", RUNS, RUNS + "/run_1/submit_tool_outputs"])
def test_a_run_begins_pending(through: Through, path: str) -> None:
    """Nothing is estimated: most of the prompt is in the thread."""
    record = through(path + VERSION, BODY, json.dumps(run("queued")).encode())
    assert (record["status"], record["usage_source"], record["usage"]) == ("completed", "pending", None)
    assert record["response_id"] == "run_1"


def test_a_fetched_run_tells_its_usage(fetched: Any) -> None:
    """Likewise its state and what the client must answer."""
    record = fetched(f"{RUNS}/run_1{VERSION}", run("completed", usage=USAGE))
    assert (record["operation"], record["usage"], record["usage_source"]) == ("fetch_response", USAGE, "reported")
    waiting = fetched(f"{RUNS}/run_1{VERSION}", run("requires_action", required_action=ACTION))
    assert (waiting["usage_source"], waiting["finish_reasons"]) == ("pending", ["tool_calls"])
    assert waiting["tool_calls"] == [{"id": "call_9", "name": "add", "arguments": "{}"}]


@pytest.mark.parametrize(
    ("status", "more", "reason"),
    [
        ("incomplete", {"incomplete_details": {"reason": "max_completion_tokens"}}, "length"),
        ("expired", {}, "expired"),
        ("cancelled", {}, "cancelled"),
    ],
)
def test_other_ends_of_a_run(fetched: Any, status: str, more: dict[str, Any], reason: str) -> None:
    """Their reasons are in the terms of chat completions; without usage it is missing, not estimated."""
    record = fetched(f"{RUNS}/run_1{VERSION}", run(status, **more))
    assert (record["finish_reasons"], record["usage_source"], record["status"]) == ([reason], "missing", "completed")


def test_a_failed_run_fails_the_call(fetched: Any, through: Through) -> None:
    """Fetched or streamed, with its code."""
    failed = run("failed", last_error={"code": "rate_limit_exceeded", "message": "Wait."})
    events = [event("thread.run.failed", failed), b"event: done\n" + DONE]
    streamed = through(RUNS + VERSION, {**BODY, "stream": True}, events, "text/event-stream")
    for record in (fetched(f"{RUNS}/run_1{VERSION}", failed), streamed):
        assert record["status"] == "upstream_error"
        assert record["error"] == {"code": "rate_limit_exceeded", "message": "Wait."}


@pytest.mark.parametrize(
    ("status", "usage", "source"),
    [("validating", None, "pending"), ("in_progress", BATCH_USAGE, "pending"), ("completed", BATCH_USAGE, "reported")],
)
def test_a_batch_tells_its_usage_at_its_end(
    fetched: Any, status: str, usage: dict[str, int] | None, source: str
) -> None:
    """By a fetch, as of the service tier `batch`; a batch that failed is no failed call."""
    batch = {"id": "batch_1", "object": "batch", "status": status, "model": "gpt-4o", "usage": usage}
    record = fetched(f"/openai/v1/batches/batch_{status}", {**batch, "errors": {"data": [{"code": "x"}]}})
    assert (record["operation"], record["response_id"], record["status"]) == ("fetch_response", "batch_1", "completed")
    assert (record["usage_source"], record["response_status"]) == (source, status)
    if source == "reported":
        assert (record["usage"]["prompt_tokens"], record["service_tier"]) == (30, "batch")
    else:
        assert record["usage"] is None


def test_a_batch_begins_pending(through: Through) -> None:
    """The call that makes it stays a plain one."""
    batch = {"id": "batch_1", "object": "batch", "status": "validating", "usage": None}
    record = through("/openai/v1/batches", {"input_file_id": "file-1"}, json.dumps(batch).encode())
    assert (record["operation"], record["usage_source"], record["response_id"]) == ("call", "pending", "batch_1")
