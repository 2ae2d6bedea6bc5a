"""What is billed and is no token, and the tools that the service ran by itself."""

import json
from typing import Any

import pytest

from app.operations.responses import Responses
from otel.call import Answer, HostedCall
from tests.app.operations.conftest import Through
from tests.kit.hub import HubReader
from tests.kit.wire import CHAT, chat_body, chat_json, client

SPEECH = "/openai/v1/audio/speech"
TRANSCRIPTIONS = "/openai/v1/audio/transcriptions"
IMAGES = "/openai/v1/images/generations"
FORM = b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\near\r\n--b--\r\n'
FORM_TYPE = "multipart/form-data; boundary=b"


def billed(record: dict[str, Any]) -> tuple[Any, Any, Any]:
    return record["usage"], record["usage_source"], record.get("units")


@pytest.mark.parametrize(
    ("answer", "units"),
    [
        ({"text": "Hi", "usage": {"type": "duration", "seconds": 7}}, {"audio_seconds": 7}),
        ({"text": "Hi", "duration": 7.25, "segments": []}, {"audio_seconds": 7.25}),
        ({"text": "Hi"}, None),
        ({"text": "Hi", "usage": {"type": "duration", "seconds": "7"}}, None),
    ],
)
def test_transcriptions_by_duration(through: Through, answer: dict[str, Any], units: dict[str, float] | None) -> None:
    """Seconds as usage, or as whisper's duration; where neither is told, nothing is known."""
    record = through(TRANSCRIPTIONS, FORM, json.dumps(answer).encode(), sent_type=FORM_TYPE)
    assert billed(record) == (None, "reported" if units else "missing", units)


def test_transcriptions_by_tokens(through: Through) -> None:
    """Where tokens are billed, seconds are not."""
    answer = {"text": "Hi", "duration": 7.2, "usage": {"type": "tokens", "input_tokens": 14, "output_tokens": 2}}
    record = through(TRANSCRIPTIONS, FORM, json.dumps(answer).encode(), sent_type=FORM_TYPE)
    assert (record["usage"]["prompt_tokens"], record.get("units")) == (14, None)


def test_a_streamed_transcription_by_duration(through: Through) -> None:
    """Its last event has the usage."""
    done = {"type": "transcript.text.done", "text": "Hi", "usage": {"type": "duration", "seconds": 3}}
    events = [f"data: {json.dumps(done)}\n\n".encode()]
    record = through(TRANSCRIPTIONS, FORM, events, "text/event-stream", sent_type=FORM_TYPE)
    assert billed(record) == (None, "reported", {"audio_seconds": 3})


def test_characters_spoken(through: Through) -> None:
    """Of the text, counted as characters; an error speaks none."""
    record = through(SPEECH, {"model": "tts", "input": "Grüße ✨"}, b"sound", "audio/mpeg")
    assert billed(record) == (None, "reported", {"characters": 7})
    failed = through(SPEECH, {"model": "tts", "input": "a"}, b'{"error":{"code":"x"}}', status=400)
    assert billed(failed) == (None, "missing", None)


def test_images_without_tokens(through: Through) -> None:
    """As many as came; size and quality stand in the request."""
    body = {"model": "dall-e-3", "prompt": "a", "size": "1024x1024", "quality": "hd"}
    record = through(IMAGES, body, b'{"data":[{"url":"u"},{"url":"v"}]}')
    assert billed(record) == (None, "reported", {"images": 2})
    assert (record["request"]["size"], record["request"]["quality"]) == ("1024x1024", "hd")
    tokens = b'{"data":[{"url":"u"}],"usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3}}'
    assert through(IMAGES, body, tokens).get("units") is None


def item(kind: str, identity: str, status: str | None = "completed", **more: Any) -> dict[str, Any]:
    return {"type": kind, "id": identity, **({"status": status} if status else {}), **more}


OUTPUT = [
    item("web_search_call", "ws_1", action={"type": "search", "query": "q"}),
    item("web_search_call", "ws_2", action={"type": "open_page"}),
    item("web_search_call", "ws_3", action={"type": "find_in_page"}),
    item("web_search_call", "ws_4", "failed", action={"type": "search"}),
    item("web_search_call", "ws_5"),
    item("file_search_call", "fs_1", queries=["q"]),
    item("code_interpreter_call", "ci_1", container_id="cntr_1", code="1"),
    item("code_interpreter_call", "ci_2", container_id="cntr_1", code="2"),
    item("code_interpreter_call", "ci_3", "failed", container_id="cntr_2"),
    item("mcp_call", "mcp_1", None, name="f", arguments="{}"),
    {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]},
]


def test_hosted_tools_are_listed_and_counted() -> None:
    """Searches that failed, and actions that open or find, do not count; sessions are distinct containers."""
    answer = Answer()
    Responses().read_answer({"status": "completed", "output": OUTPUT}, answer)
    assert answer.units == {"web_search_calls": 2, "file_search_calls": 1, "code_sessions": 2}
    expected = [(one["type"], one["id"], one.get("status")) for one in OUTPUT[:10]]
    assert answer.hosted_calls == [HostedCall(*one) for one in expected]
    assert [call.name for call in answer.choices[0].tool_calls] == ["f"]


def test_hosted_tools_of_a_record(through: Through) -> None:
    """Beside token usage, and as the service names them; nothing of what they were asked."""
    usage = {"input_tokens": 5, "output_tokens": 1, "total_tokens": 6}
    body = {"id": "resp_1", "object": "response", "status": "completed", "output": OUTPUT, "usage": usage}
    record = through("/openai/v1/responses", {"input": "a", "model": "m"}, json.dumps(body).encode())
    assert record["units"] == {"web_search_calls": 2, "file_search_calls": 1, "code_sessions": 2}
    assert record["hosted_calls"][0] == {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    assert (record["response_status"], record["usage_source"]) == ("completed", "reported")


HEADERS = {
    "x-request-id": "req-1",
    "openai-processing-ms": "484.4",
    "x-ratelimit-remaining-requests": "9",
    "x-ratelimit-remaining-tokens": "8000",
    "x-ms-spillover-from-deployment": "first",
    "x-ms-deployment-name": "second",
}


def test_what_upstreams_headers_say(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """Its id, its time, what is left of the limits, and which deployment served; odd values are left out."""
    sent = [HEADERS, {**dict.fromkeys(HEADERS, "odd"), "x-ms-deployment-name": "chat-deployment"}, {}]
    answers = iter(sent)
    server = upstream(lambda request, reply: reply.json(chat_json(), headers=next(answers)))
    with client(proxy(server.url).url) as caller:
        traces = []
        for _ in sent:
            answer = caller.send("POST", CHAT, chat_body())
            answer.read()
            traces.append(answer.trace_id)
    names = ("request_id", "upstream_ms", "rate_limit", "spilled_from", "served_by")
    first, second, third = ({name: hub.record(trace).get(name) for name in names} for trace in traces)
    assert first == dict(
        zip(names, ("req-1", 484, {"remaining_requests": 9, "remaining_tokens": 8000}, "first", "second"), strict=True)
    )
    assert second == {**dict.fromkeys(names), "request_id": "odd", "spilled_from": "odd"}
    assert third == dict.fromkeys(names)
