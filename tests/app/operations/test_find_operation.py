"""The operation of a path, its name, and which requests and answers it reads."""

from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind

from app.operations import Plain
from app.operations.openai import OPENAI
from otel.azure_exporter import shaped
from otel.call import Status
from tests.app.operations.conftest import Through
from tests.app.operations.shapes import SSE, read
from tests.kit.hub import HubReader
from tests.kit.wire import DONE, client

NAMES = [
    ("chat/completions", "chat", "chat_completions"),
    ("responses", "chat", "responses"),
    ("responses/compact", "chat", "responses"),
    ("completions", "text_completion", None),
    ("embeddings", "embeddings", None),
    ("images/generations", "image_generation", None),
    ("images/edits", "image_edit", None),
    ("audio/speech", "speech", None),
    ("audio/transcriptions", "transcription", None),
    ("audio/translations", "translation", None),
    ("threads/runs", "invoke_agent", "assistants"),
    ("threads/*/runs", "invoke_agent", "assistants"),
    ("threads/*/runs/*/submit_tool_outputs", "invoke_agent", "assistants"),
    ("batches", "call", "batches"),
    ("videos", "video_generation", "videos"),
    ("video/generations/jobs", "video_generation", "videos"),
]
NOT_JSON = {"images/edits", "audio/transcriptions", "audio/translations", "batches", "videos"}


@pytest.mark.parametrize(("suffix", "name", "api_type"), NAMES)
@pytest.mark.parametrize("start", ["/openai/v1/", "/openai/deployments/d/", "/openai/"])
def test_each_operation_has_its_name(start: str, suffix: str, name: str, api_type: str | None) -> None:
    """The operation is the same under every kind of path, named as in the GenAI conventions where possible."""
    found = OPENAI.operation(OPENAI.target(start + suffix))
    assert (found.name, found.api_type) == (name, api_type)
    assert found.json_body == (suffix not in NOT_JSON)


def test_every_operation_is_listed_above() -> None:
    """The names of all operations that ship are tested."""
    assert {suffix for suffix, _, _ in NAMES} == set(OPENAI.operations)


@pytest.mark.parametrize("suffix", OPENAI.operations)
def test_application_insights_shows_the_path_of_each_operation(suffix: str) -> None:
    """No word of an operation's path is taken for a name or an id, which requests in Application Insights leave out."""
    path = f"/openai/v1/{suffix}"
    span = ReadableSpan("", kind=SpanKind.SERVER, attributes={"http.route": OPENAI.route, "url.path": path})
    assert (shaped(span).attributes or {})["http.route"] == path.replace("*", "{}")


@pytest.mark.parametrize(
    "path",
    [
        "/openai/Deployments/d/Chat/Completions",
        "/openai/deployments/d/chat/completions/",
        "/openai/V1/chat/COMPLETIONS/",
    ],
)
def test_the_case_of_a_path_and_a_slash_at_its_end_do_not_matter(path: str) -> None:
    """Azure serves these, so they must not pass unread."""
    target = OPENAI.target(path)
    assert OPENAI.operation(target).name == "chat"
    assert target.deployment == ("d" if "eployments" in path else None)
    assert target.takes_api_version == ("V1" not in path)


@pytest.mark.parametrize(
    ("query", "sent", "version"),
    [
        ("Api-Version=2025-01-01", "Api-Version=2025-01-01", "2025-01-01"),
        ("a=b&API-VERSION=1", "a=b&API-VERSION=1", "1"),
        ("api%2Dversion=1&x=%31", "api%2Dversion=1&x=%31", "1"),
        ("x=api-version%3D1", "x=api-version%3D1&api-version=2024-06-01", "2024-06-01"),
        ("not-api-version=1", "not-api-version=1&api-version=2024-06-01", "2024-06-01"),
    ],
)
def test_the_api_version_is_found_in_any_form(
    upstream: Any, proxy: Any, hub: HubReader, query: str, sent: str, version: str
) -> None:
    """A client that gives one gets no second; the case of its name does not matter, as in Azure."""
    server = upstream(lambda request, reply: reply.json(b'{"choices":[]}'))
    with client(proxy(server.url, AZURE_OPENAI_API_VERSION="2024-06-01").url) as caller:
        answer = caller.send("POST", f"/openai/deployments/d/chat/completions?{query}", b'{"messages":[]}')
        answer.read()
    assert server.seen[0].target.partition("?")[2] == sent
    assert hub.record(answer.trace_id)["api_version"] == version


@pytest.mark.parametrize(
    "path",
    [
        "/openai/files",
        "/openai/files/file-1/content",
        "/openai/v1/batches",
        "/openai/assistants",
        "/openai/threads/t/messages",
        "/openai/models",
        "/openai/v1/responses/resp_1",
        "/openai/v1/responses/resp_1/cancel",
        "/openai/v1/responses/resp_1/input_items",
        "/openai/v1/chat/completions/chatcmpl-1",
        "/openai/v1/audio/voices",
        "/openai/deployments/d/images/variations",
        "/openai/v1",
    ],
)
def test_other_paths_are_plain_calls(path: str) -> None:
    """For stored objects and unknown paths, only sizes and times are recorded."""
    found = OPENAI.operation(OPENAI.target(path))
    assert isinstance(found, Plain)
    assert (found.name, found.json_body) == ("call", False)


def test_the_deployment_in_the_path_overrides_the_body(through: Through) -> None:
    """If the path names the deployment, Azure ignores the body's model, and so does the record."""
    path = "/openai/deployments/mine/embeddings?api-version=2024-10-21"
    answer = b'{"object":"list","data":[],"usage":{"prompt_tokens":1,"total_tokens":1}}'
    record = through(path, {"input": "x", "model": "whatever"}, answer)
    assert (record["deployment"], record["model"]) == ("mine", "mine")
    assert record["api_version"] == "2024-10-21"


def test_reading_a_stored_object_is_a_plain_call(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """A failed batch or evaluation does not fail the call that reads it."""
    bodies = {
        "/openai/v1/evals/eval_1": b'{"id":"eval_1","status":"failed","error":{"code":"server_error"}}',
        "/openai/v1/chat/completions": b'{"object":"list","data":[]}',
        "/openai/files/b?api-version=1": b'{"id":"b","error":{"code":"x"},"errors":{"data":[]}}',
    }
    server = upstream(lambda request, reply: reply.json(bodies[request.target]))
    with client(proxy(server.url).url) as caller:
        traces = []
        for path, body in bodies.items():
            answer = caller.send("GET", path)
            assert answer.read() == body
            traces.append(answer.trace_id)
    for trace_id, body in zip(traces, bodies.values(), strict=True):
        record = hub.record(trace_id)
        assert (record["operation"], record["status"]) == ("call", "completed")
        assert (record["content"], record["prompt"], record["usage"]) == ("", None, None)
        assert record["response_bytes"] == len(body)


def test_events_of_a_plain_call_are_counted(through: Through) -> None:
    """A stream of an unknown operation has a stream's times and number of events, and any end completes it."""
    events = [
        b'event: eval.created\ndata: {"id":"eval_1","last_error":null}\n\n',
        b'event: done\ndata: {"id":1}\n\n',
    ]
    path = "/openai/evals/e/runs?api-version=2024-05-01-preview"
    record = through(path, {"stream": True}, events, "text/event-stream")
    assert (record["type"], record["operation"], record["chunks"]) == ("stream_completion", "call", 2)
    assert record["status"] == "completed"


def test_an_error_event_fails_a_plain_call(through: Through) -> None:
    """An error event fails a call of any operation."""
    event = b'event: error\ndata: {"error":{"code":"rate_limit_exceeded","message":"Wait."}}\n\n'
    record = through("/openai/evals/e/runs", {"stream": True}, [event], "text/event-stream")
    assert record["status"] == "upstream_error"
    assert record["error"] == {"code": "rate_limit_exceeded", "message": "Wait."}


def test_an_error_of_a_plain_call_is_named(through: Through) -> None:
    """An error response is read for any operation."""
    body = b'{"error":{"code":"invalid_payload","message":"No such purpose."}}'
    record = through("/openai/files?api-version=1", b"form", body, status=400, sent_type="multipart/form-data")
    assert (record["status"], record["http_status"]) == ("upstream_error", 400)
    assert record["error"] == {"code": "invalid_payload", "message": "No such purpose."}
    assert record["request_bytes"] == 4


@pytest.mark.parametrize("suffix", ["files", "evals", "models"])
def test_some_json_answers_are_not_read(suffix: str) -> None:
    """JSON of an unknown operation is only counted."""
    call = read(suffix, [b'{"id":"x","error":{"code":"y"},"usage":{"prompt_tokens":1}}'])
    assert (call.status, call.answer.usage, call.answer.truncated) == (Status.COMPLETED, None, False)


@pytest.mark.parametrize("suffix", ["audio/transcriptions", "images/edits", "threads/t/runs", "chat/completions"])
def test_a_response_shows_the_stream_of_an_unread_request(suffix: str) -> None:
    """If the request was not read, events in the response make it a stream, unless its status is an error."""
    assert read(suffix, [DONE], SSE).request.stream is True
    assert read(suffix, [b'{"error":{"code":"x"}}'], SSE, 400).request.stream is False


def test_the_span_has_the_name_of_the_deployment_in_the_path(upstream: Any, proxy: Any) -> None:
    """A model in the body does not rename what was called."""
    server = upstream(lambda request, reply: reply.json(b'{"choices":[]}'))
    running = proxy(server.url)
    with client(running.url) as caller:
        answer = caller.send("POST", "/openai/deployments/d/chat/completions", b'{"messages":[],"model":"other"}')
        answer.read()
    (span,) = [one for one in running.spans.of_trace(answer.trace_id, 2) if one.kind is SpanKind.CLIENT]
    assert (span.name, span.attributes["gen_ai.request.model"]) == ("chat d", "d")
