"""Responses of success that are no answer of the operation: no call completes with them, and no usage is invented."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.app.relay.stage import Stage
from tests.kit.hub import Broker, HubReader
from tests.kit.proxy import ProxyThread
from tests.kit.upstream import Reply, Seen
from tests.kit.wire import CHAT, chat_body, client

PAGE = b"<!doctype html>\n<html><body>Blocked by the firewall.</body></html>"
HTML = {"content-type": "text/html; charset=utf-8"}
JSON = {"content-type": "application/json"}
SSE = {"content-type": "text/event-stream"}
TEXT = {"content-type": "text/plain"}
CHATTED: dict[str, tuple[int, dict[str, str], bytes]] = {
    "an HTML page": (200, HTML, PAGE),
    "an HTML page as 201": (201, HTML, PAGE),
    "an HTML page without a type": (200, {}, PAGE),
    "a redirect": (302, {"location": "https://login.example/", **HTML}, PAGE),
    "a redirect without a body": (307, {"location": "/elsewhere"}, b""),
    "no content": (204, {}, b""),
    "nothing": (200, JSON, b""),
    "nothing without a type": (200, {}, b""),
    "an array": (200, JSON, b"[]"),
    "null": (200, JSON, b"null"),
    "a greeting": (200, JSON, b'{"message":"It works!"}'),
    "plain text": (200, TEXT, b"OK"),
    "sound": (200, {"content-type": "audio/mpeg"}, b"\xff\xfb\x90\x64\x00"),
    "a page called a stream": (200, SSE, PAGE),
}


@pytest.fixture(scope="module")
def stage(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(ProxyThread, broker, tmp_path_factory.mktemp("unexpected")) as started:
        yield started


def respond(stage: Stage, status: int, headers: dict[str, str], body: bytes) -> None:
    async def script(request: Seen, reply: Reply) -> None:
        length = {} if status == 204 else {"content-length": str(len(body))}
        await reply.head(status, {**headers, **length})
        if body:
            await reply.raw(body)

    stage.play(script)


def outcome(record: dict[str, Any]) -> tuple[Any, ...]:
    return record["status"], record["error"]["code"], record["usage"], record["usage_source"], record["content"]


FAILED = ("upstream_error", "unexpected_answer", None, "missing", "")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", CHATTED)
def test_what_is_no_answer_fails_the_call_and_passes_untouched(
    stage: Stage, hub: HubReader, name: str, stream: bool
) -> None:
    """The client gets it as it is; the record says that it was no answer, and estimates nothing."""
    status, headers, body = CHATTED[name]
    respond(stage, status, headers, body)
    with client(stage.url) as caller:
        answer = caller.send("POST", CHAT, chat_body(stream=stream))
        assert (answer.status, answer.read(), answer.header("location")) == (status, body, headers.get("location"))
    record = hub.record(answer.trace_id)
    assert outcome(record) == FAILED
    assert record["http_status"] == status


def test_a_client_that_leaves_a_page_leaves_no_usage_behind(stage: Stage, hub: HubReader) -> None:
    """A page that was not read to its end is no answer either."""

    async def script(request: Seen, reply: Reply) -> None:
        await reply.head(200, {**HTML, "content-length": "100000"})
        await reply.raw(PAGE)
        await reply.hung_up()

    stage.play(script)
    with client(stage.url) as caller:
        answer = caller.chat()
        assert answer.some()
        caller.leave()
    assert outcome(hub.record(answer.trace_id)) == FAILED


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/openai/v1/responses", b'{"input":"a","model":"m"}'),
        ("/openai/v1/embeddings", b'{"input":"a","model":"m"}'),
        ("/openai/v1/completions", b'{"prompt":"a","model":"m"}'),
        ("/openai/v1/images/generations", b'{"prompt":"a","model":"m"}'),
        ("/openai/v1/audio/speech", b'{"input":"a","model":"m"}'),
    ],
)
@pytest.mark.parametrize("name", ["an HTML page", "a redirect", "no content", "nothing without a type", "a greeting"])
def test_no_operation_answers_so(stage: Stage, hub: HubReader, path: str, body: bytes, name: str) -> None:
    """Whatever was asked for."""
    respond(stage, *CHATTED[name])
    with client(stage.url) as caller:
        answer = caller.send("POST", path, body)
        answer.read()
    assert outcome(hub.record(answer.trace_id)) == FAILED


@pytest.mark.parametrize("name", ["an HTML page", "a redirect", "no content", "plain text", "an array"])
def test_any_response_completes_a_plain_call(stage: Stage, hub: HubReader, name: str) -> None:
    """Of files and batches, only the status is known."""
    status, headers, body = CHATTED[name]
    respond(stage, status, headers, body)
    with client(stage.url) as caller:
        answer = caller.send("GET", "/openai/v1/files/file-1/content")
        assert answer.read() == body
    assert hub.record(answer.trace_id)["status"] == "completed"


def test_plain_text_is_a_transcription(stage: Stage, hub: HubReader) -> None:
    """`response_format=text` gives no JSON."""
    respond(stage, 200, TEXT, b"Hello.")
    with client(stage.url) as caller:
        answer = caller.send("POST", "/openai/v1/audio/transcriptions", b"--a--", content_type="multipart/form-data")
        answer.read()
    assert hub.record(answer.trace_id)["status"] == "completed"


@pytest.mark.parametrize("status", ["queued", "in_progress"])
def test_usage_of_a_background_response_is_pending(stage: Stage, hub: HubReader, status: str) -> None:
    """It is billed when it ends; nothing is estimated for it now."""
    body = {"id": "resp_1", "object": "response", "background": True, "status": status, "output": [], "usage": None}
    respond(stage, 200, JSON, json.dumps(body).encode())
    with client(stage.url) as caller:
        answer = caller.send("POST", "/openai/v1/responses", b'{"input":"Hi","model":"m","background":true}')
        answer.read()
    record = hub.record(answer.trace_id)
    assert (record["status"], record["usage"], record["usage_source"]) == ("completed", None, "pending")
