"""Claude's Messages API. Replays exchanges (recorded_messages/, each with its source), whole and in streams."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.operations.messages import read_message_usage
from otel.call import Usage
from tests.app.operations.conftest import Through
from tests.kit.hub import HubReader
from tests.kit.proxy import KEY
from tests.kit.upstream import Reply, Seen
from tests.kit.wire import client

RECORDED = {path.stem: json.loads(path.read_text()) for path in Path(__file__).parent.glob("recorded_messages/*.json")}
PATH = "/anthropic/v1/messages?beta=true"


@pytest.fixture
def replayed(through: Through) -> Any:
    """The record of a recorded exchange."""

    def replay(name: str) -> dict[str, Any]:
        exchange = RECORDED[name]
        body, sent = exchange["body"].encode(), exchange["request_body"].encode()
        if name.startswith("stream"):
            return through(PATH, sent, [one + b"\n\n" for one in body.split(b"\n\n") if one], "text/event-stream")
        return through(PATH, sent, body)

    return replay


def event(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


START = event(
    "message_start", message={"id": "msg_1", "model": "claude", "usage": {"input_tokens": 7, "output_tokens": 1}}
)
TEXT = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Once upon a time"})
STREAM = {"model": "claude", "messages": [{"role": "user", "content": "Hi"}], "stream": True}


def test_text_and_tools(replayed: Any) -> None:
    """A whole message: texts are the content, calls have their input as JSON text."""
    record = replayed("json_tools")
    assert (record["operation"], record["finish_reasons"], record["status"]) == ("chat", ["tool_calls"], "completed")
    assert record["content"].startswith("Certainly! I'd be happy")
    assert [(call["name"], json.loads(call["arguments"])) for call in record["tool_calls"]] == [
        ("get_weather", {"location": "New York, NY", "unit": "fahrenheit"}),
        ("get_time", {"timezone": "America/New_York"}),
    ]
    assert record["usage"] == {"prompt_tokens": 514, "completion_tokens": 152, "total_tokens": 666}
    assert (record["deployment"], record["model"]) == ("claude-3-5-sonnet-20240620",) * 2
    assert list(record["request"]) == ["max_tokens", "model", "tools"]
    assert "api_version" not in record


@pytest.mark.parametrize(
    ("name", "details"),
    [
        ("json_cache_write", {"cached_tokens": 0, "cache_write_tokens": 1163}),
        ("json_cache_read", {"cached_tokens": 1163, "cache_write_tokens": 0}),
    ],
)
def test_the_cache_is_part_of_the_prompt(replayed: Any, name: str, details: dict[str, int]) -> None:
    """What was written to it and read from it counts as prompt, and is told apart."""
    usage = replayed(name)["usage"]
    assert (usage["prompt_tokens"], usage["prompt_tokens_details"]) == (1167, details)


@pytest.mark.parametrize(("name", "output"), [("json_thinking", 215), ("stream_thinking", 216)])
def test_thinking_is_reasoning(replayed: Any, name: str, output: int) -> None:
    """Its signature is not recorded; counts of the last event replace those of the first."""
    record = replayed(name)
    assert record["reasoning"].startswith("Let")
    assert "strawberry" in record["content"]
    assert record["usage"]["completion_tokens"] == output
    assert (record["usage"]["prompt_tokens"], record["usage_source"], record["finish_reasons"]) == (
        52,
        "reported",
        ["stop"],
    )


def test_a_stream_with_tools(replayed: Any) -> None:
    """Partial JSON is joined; the first output is timed."""
    record = replayed("stream_tools")
    names = [call["name"] for call in record["tool_calls"]]
    assert (names, record["type"]) == (["get_weather", "get_time"], "stream_completion")
    assert all(json.loads(call["arguments"]) for call in record["tool_calls"])
    assert record["content"].startswith("Certainly! I can")
    assert (record["service_tier"], record["finish_reasons"]) == ("standard", ["tool_calls"])
    assert record["time_to_first_token_ms"] is not None


def test_a_stream_that_breaks_keeps_what_was_told(through: Through) -> None:
    """The prompt's count is the service's; what was written is estimated."""
    record = through(PATH, STREAM, [START, TEXT], "text/event-stream")
    assert (record["status"], record["usage_source"]) == ("upstream_cut", "estimated")
    assert record["usage"]["prompt_tokens"] == 7
    assert record["usage"]["completion_tokens"] > 2


def test_an_error_event_fails_the_call(through: Through) -> None:
    """With its type as the code."""
    error = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    record = through(PATH, STREAM, [START, TEXT, error], "text/event-stream")
    assert (record["status"], record["error"]["code"]) == ("upstream_error", "overloaded_error")


def test_server_tools(through: Through) -> None:
    """Tools that the service ran are hosted calls, searches are units, and the system prompt is instructions."""
    content = [
        {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "x"}},
        {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": [{"type": "web_search_result"}]},
        {"type": "server_tool_use", "id": "srv_2", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "srv_2", "content": {"error_code": "unavailable"}},
        {"type": "redacted_thinking", "data": "secret"},
        {"type": "text", "text": "Found.", "citations": []},
    ]
    usage = {"input_tokens": 5, "output_tokens": 3, "server_tool_use": {"web_search_requests": 1}}
    answer = {"id": "msg_1", "type": "message", "model": "claude", "content": content, "usage": usage}
    body = {"model": "claude", "max_tokens": 9, "system": "Be brief.", "messages": [], "stop_sequences": ["x"]}
    record = through(PATH, body, json.dumps({**answer, "stop_reason": "pause_turn"}).encode())
    assert [(call["type"], call["status"]) for call in record["hosted_calls"]] == [
        ("web_search_call", "completed"),
        ("web_search_call", "failed"),
    ]
    assert (record["units"], record["content"], record["instructions"]) == (
        {"web_search_calls": 1},
        "Found.",
        "Be brief.",
    )
    assert record["finish_reasons"] == ["pause_turn"]
    assert "system" not in record["request"]


def test_count_tokens_is_no_usage(through: Through) -> None:
    """A record of its own operation."""
    record = through("/anthropic/v1/messages/count_tokens", {"model": "c", "messages": []}, b'{"input_tokens":14}')
    assert (record["operation"], record["usage"], record["usage_source"]) == ("count_tokens", None, "missing")
    assert record["status"] == "completed"


def test_iterations_are_what_is_billed() -> None:
    """Their sum, not the top-level counts; writes for an hour are told apart."""
    iteration = {"input_tokens": 10, "output_tokens": 2, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 4}
    hour = {"cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 3}}
    usage = {"input_tokens": 1, "output_tokens": 1, "iterations": [iteration, {**iteration, **hour}]}
    details = {"cached_tokens": 6, "cache_write_tokens": 8, "cache_write_1h_tokens": 3}
    assert read_message_usage(usage) == Usage(34, 4, 38, {"prompt_tokens_details": details})
    assert read_message_usage({}) is None


@pytest.mark.parametrize("key", [{"x-api-key": KEY}, {"api-key": KEY}, {"authorization": f"Bearer {KEY}"}])
def test_its_clients_keys_and_its_errors(upstream: Any, proxy: Any, hub: HubReader, key: dict[str, str]) -> None:
    """A key may come as `x-api-key` and never goes upstream; errors are Anthropic's; other paths pass."""

    async def script(request: Seen, reply: Reply) -> None:
        await reply.json(b"{}", headers={"request-id": "req_1", "anthropic-ratelimit-tokens-remaining": "5"})

    server = upstream(script)
    sent = {"api_key": "", **{name.replace("-", "_"): value for name, value in key.items()}}
    with client(proxy(server.url).url) as caller:
        answer = caller.send("GET", "/anthropic/v1/models", **sent, anthropic_version="2023-06-01")
        answer.read()
        refused = caller.send("POST", PATH, b"{}", api_key="wrong")
        told = json.loads(refused.read())
    assert (refused.status, told["type"], told["error"]["type"]) == (401, "error", "authentication_error")
    (seen,) = server.seen
    assert (seen.header("x-api-key"), seen.header("api-key")) == ("upstream-key-0", "upstream-key-0")
    assert seen.header("anthropic-version") == "2023-06-01"
    assert KEY not in str(seen.headers)
    record = hub.record(answer.trace_id)
    assert (record["operation"], record["request_id"], record["rate_limit"]) == (
        "call",
        "req_1",
        {"remaining_tokens": 5},
    )


def test_other_models(through: Through) -> None:
    """`/models/` reads chat and embeddings as `/openai/` does, and adds no api-version."""
    body = {"model": "phi", "messages": [{"role": "user", "content": "Hi"}]}
    answer = {"id": "1", "model": "phi-4", "choices": [{"index": 0, "message": {"content": "Hello"}}]}
    record = through("/models/chat/completions", body, json.dumps(answer).encode(), extra_parameters="pass-through")
    assert (record["operation"], record["content"], record["deployment"]) == ("chat", "Hello", "phi")


def test_backends_serve_kinds(upstream: Any, proxy: Any) -> None:
    """A call goes to a backend that serves its family of paths; without one it is refused."""
    openai, claude = (upstream(lambda request, reply: reply.json(b"{}")) for _ in range(2))
    backends = [
        {"name": "openai", "base_url": openai.url, "key": "a", "kinds": ["openai"]},
        {"name": "claude", "base_url": claude.url, "key": "b", "kinds": ["messages"]},
    ]
    with client(proxy("", AZURE_OPENAI_BACKENDS=json.dumps(backends)).url) as caller:
        for path in ("/openai/models", "/anthropic/v1/messages/count_tokens", "/models/info"):
            answer = caller.send("POST", path, b'{"messages":[]}')
            answer.read()
            assert answer.status == (404 if path == "/models/info" else 200)
    assert (len(openai.seen), len(claude.seen)) == (1, 1)
