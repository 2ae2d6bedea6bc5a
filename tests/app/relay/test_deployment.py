"""The deployment of a call: from path, body or response header, and never taken for the model."""

import json
from typing import Any

import pytest
from opentelemetry.trace import SpanKind

from otel import attributes as a
from tests.kit.hub import HubReader
from tests.kit.wire import CHAT, CHUNK, chat_body, chat_json, client

MODEL = CHUNK["model"]
V1 = "/openai/v1"
FORM = b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\near\r\n--b--\r\n'
UNNAMED = FORM.replace(b'"model"', b'"other"')
FORM_TYPE = "multipart/form-data; boundary=b"
WORDS = json.dumps({"text": "Hello"}).encode()


@pytest.mark.parametrize(
    ("path", "body", "content_type", "answer", "named", "deployment", "model", "span"),
    [
        (CHAT, chat_body(), "application/json", chat_json(), "", "chat-deployment", MODEL, "chat chat-deployment"),
        (f"{V1}/chat/completions", chat_body(model="d"), "application/json", chat_json(), "", "d", MODEL, "chat d"),
        (f"{V1}/audio/transcriptions", FORM, FORM_TYPE, WORDS, "", "ear", "ear", "transcription ear"),
        (f"{V1}/audio/transcriptions", UNNAMED, FORM_TYPE, WORDS, "mine", "mine", "mine", "transcription mine"),
        (f"{V1}/audio/transcriptions", UNNAMED, FORM_TYPE, WORDS, "", None, "unknown", "transcription"),
    ],
    ids=["path", "body", "form", "header", "nowhere"],
)
def test_the_deployment_comes_from_path_body_or_response_header(
    upstream: Any,
    proxy: Any,
    hub: HubReader,
    path: str,
    body: bytes,
    content_type: str,
    answer: bytes,
    named: str,
    deployment: str | None,
    model: str,
    span: str,
) -> None:
    """The path counts, else the body or the form, else the response's header; the model is upstream's name.

    Span and record agree.
    """
    headers = {"x-ms-deployment-name": named} if named else {}
    running = proxy(upstream(lambda request, reply: reply.json(answer, headers=headers)).url)
    with client(running.url) as caller:
        got = caller.send("POST", path, body, content_type=content_type)
        assert got.read() == answer
    record = hub.record(got.trace_id)
    assert (record.get("deployment"), record["model"]) == (deployment, model)
    assert ("api_version" in record) == ("api-version" in path)
    (call,) = (one for one in running.spans.of_trace(got.trace_id, 2) if one.kind is SpanKind.CLIENT)
    assert call.name == span
    assert (call.attributes.get(a.DEPLOYMENT), call.attributes.get(a.REQUEST_MODEL)) == (deployment, deployment)
