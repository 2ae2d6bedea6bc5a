"""Which operation a path asks for, by which name it is known, and which deployment is called."""

from typing import Any

import pytest

from app.operations import Plain
from app.operations.openai import OPENAI
from tests.app.operations.conftest import Through
from tests.kit.hub import HubReader
from tests.kit.scripts import answering
from tests.kit.wire import CHAT, PROMPT, chat_body, chat_json, client

NAMES = [
    ("chat/completions", "chat", "chat_completions"),
    ("responses", "chat", "responses"),
    ("completions", "text_completion", None),
    ("embeddings", "embeddings", None),
    ("images/generations", "image_generation", None),
    ("images/edits", "image_edit", None),
    ("audio/speech", "speech", None),
    ("audio/transcriptions", "transcription", None),
    ("audio/translations", "translation", None),
]
FORMS = {"images/edits", "audio/transcriptions", "audio/translations"}


@pytest.mark.parametrize(("suffix", "name", "api_type"), NAMES)
@pytest.mark.parametrize("start", ["/openai/v1/", "/openai/deployments/d/", "/openai/"])
def test_each_operation_has_its_name(start: str, suffix: str, name: str, api_type: str | None) -> None:
    """The same operation is found under every kind of path, by the conventions' name where they have one."""
    found = OPENAI.operation(OPENAI.target(start + suffix))
    assert (found.name, found.api_type) == (name, api_type)
    assert found.json_body == (suffix not in FORMS)


@pytest.mark.parametrize(
    "path",
    [
        "/openai/files",
        "/openai/files/file-1/content",
        "/openai/v1/batches",
        "/openai/assistants",
        "/openai/threads/t/runs",
        "/openai/models",
        "/openai/v1/responses/resp_1",
        "/openai/v1/responses/resp_1/cancel",
        "/openai/v1/chat/completions/chatcmpl-1",
        "/openai/v1/audio/voices",
        "/openai/deployments/d/images/variations",
        "/openai/v1",
    ],
)
def test_all_else_is_a_plain_call(path: str) -> None:
    """What is about stored things, or not known, is a call of which only sizes and times are told."""
    found = OPENAI.operation(OPENAI.target(path))
    assert isinstance(found, Plain)
    assert (found.name, found.json_body) == ("call", False)


def test_under_v1_the_deployment_is_the_body_s_model(through: Through) -> None:
    """The v1 API names the deployment in the body, and its record says so."""
    record = through("/openai/v1/chat/completions", chat_body(model="my-deployment"), chat_json())
    assert (record["deployment"], record["model"]) == ("my-deployment", "gpt-4.1-mini-2025-04-14")
    assert "api_version" not in record
    assert record["prompt"] == PROMPT


def test_the_path_s_deployment_counts_and_not_the_body_s_model(through: Through) -> None:
    """Where the path names the deployment the body's model means nothing to Azure, and is no model in the record."""
    path = "/openai/deployments/mine/embeddings?api-version=2024-10-21"
    answer = b'{"object":"list","data":[],"usage":{"prompt_tokens":1,"total_tokens":1}}'
    record = through(path, {"input": "x", "model": "whatever"}, answer)
    assert (record["deployment"], record["model"]) == ("mine", "mine")
    assert record["api_version"] == "2024-10-21"


def test_asking_for_what_is_stored_is_a_plain_call(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """A stored response or batch that failed is told of by a call that succeeded; its state is not the call's."""
    bodies = {
        "/openai/v1/responses/resp_1": b'{"id":"resp_1","status":"failed","error":{"code":"server_error"}}',
        "/openai/v1/chat/completions": b'{"object":"list","data":[]}',
        "/openai/batches/b?api-version=1": b'{"id":"b","error":{"code":"x"},"errors":{"data":[]}}',
    }
    server = upstream(lambda request, reply: reply.json(bodies[request.target]))
    with client(proxy(server.url).url) as caller:
        for path, body in bodies.items():
            answer = caller.send("GET", path)
            assert answer.read() == body
            record = hub.record(answer.trace_id)
            assert (record["operation"], record["status"]) == ("call", "completed")
            assert (record["content"], record["prompt"], record["usage"]) == ("", None, None)
            assert record["response_bytes"] == len(body)


def test_events_of_a_plain_call_are_passed_and_counted(through: Through) -> None:
    """A stream of an operation that is not known is a stream, with its times and events, and takes any end."""
    events = [
        b'event: thread.run.created\ndata: {"id":"run_1","last_error":null}\n\n',
        b'event: done\ndata: {"id":1}\n\n',
    ]
    path = "/openai/threads/t/runs?api-version=2024-05-01-preview"
    record = through(path, {"stream": True}, events, "text/event-stream")
    assert (record["type"], record["operation"], record["chunks"]) == ("stream_completion", "call", 2)
    assert record["status"] == "completed"


def test_an_error_event_of_a_plain_stream(through: Through) -> None:
    """An error event fails the call whatever the operation is."""
    event = b'event: error\ndata: {"error":{"code":"rate_limit_exceeded","message":"Wait."}}\n\n'
    record = through("/openai/threads/t/runs", {"stream": True}, [event], "text/event-stream")
    assert record["status"] == "upstream_error"
    assert record["error"] == {"code": "rate_limit_exceeded", "message": "Wait."}


def test_an_error_of_a_plain_call_is_named(through: Through) -> None:
    """An error answer is read whatever the operation is."""
    body = b'{"error":{"code":"invalid_payload","message":"No such purpose."}}'
    record = through("/openai/files?api-version=1", b"form", body, status=400, sent_type="multipart/form-data")
    assert (record["status"], record["http_status"]) == ("upstream_error", 400)
    assert record["error"] == {"code": "invalid_payload", "message": "No such purpose."}
    assert record["request_bytes"] == 4


def test_the_size_of_a_body_without_a_length_is_counted(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """Known at its end: in chunks, JSON or anything else."""
    server = upstream(answering)
    with client(proxy(server.url).url) as caller:
        for path in ("/openai/files?api-version=1", CHAT):
            answer = caller.send("POST", path, iter([b" " * 1000, b"{}"]))
            answer.read()
            assert hub.record(answer.trace_id)["request_bytes"] == 1002
