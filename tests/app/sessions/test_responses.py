"""The Responses API over WebSocket: each `response.create` is a call, recorded as one over HTTP is."""

import json
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from tests.app.sessions.service import RESPONSES, Service, session
from tests.kit.hub import HubReader

USAGE = {"input_tokens": 9, "output_tokens": 3, "total_tokens": 12, "input_tokens_details": {"cached_tokens": 4}}


def whole(number: int, status: str = "completed", **more: Any) -> dict[str, Any]:
    content = [{"type": "output_text", "text": f"answer {number}"}]
    output = [{"type": "message", "content": content}] if status == "completed" else []
    return {"id": f"resp_{number}", "model": "gpt-5-2026", "status": status, "output": output, "usage": USAGE, **more}


async def answer(connection: ServerConnection) -> None:
    """Answer each request by its `metadata.how`."""
    number = 0
    async for message in connection:
        asked = json.loads(message)
        number += 1
        events: list[dict[str, Any]] = [
            {"type": "response.created", "response": whole(number, "in_progress", usage=None)},
            {"type": "response.output_text.delta", "output_index": 0, "delta": f"answer {number}"},
        ]
        match asked.get("metadata", {}).get("how"):
            case "warm":
                events = [{"type": "response.completed", "response": {**whole(number), "output": []}}]
            case "error":
                error = {"code": "previous_response_not_found", "message": "None.", "param": "previous_response_id"}
                events = [{"type": "error", "status": 400, "error": error}]
            case "failed":
                failed = whole(number, "failed", error={"code": "server_error", "message": "No."})
                events.append({"type": "response.failed", "response": failed})
            case "incomplete":
                details = {"reason": "max_output_tokens"}
                ended = whole(number, "incomplete", incomplete_details=details)
                events.append({"type": "response.incomplete", "response": ended})
            case "broken":
                pass
            case _:
                events.append({"type": "response.completed", "response": whole(number)})
        for event in events:
            await connection.send(json.dumps(event))


def asked(service: Service, proxy: Any, hub: HubReader, *hows: str, **settings: str) -> list[dict[str, Any]]:
    """The records of requests made one after another on one connection."""
    service.script = answer
    with session(proxy(service.url, **settings).url, RESPONSES) as client:
        assert client.response is not None
        for how in hows:
            body = {"model": "gpt-5", "input": f"question {how}", "metadata": {"how": how}, "store": False}
            client.send(json.dumps({"type": "response.create", **body}))
            last = "response.output_text.delta" if how == "broken" else ""
            while (kind := json.loads(client.recv(60))["type"]) != last:
                if kind in ("response.completed", "response.failed", "response.incomplete", "error"):
                    break
    records = hub.records(client.response.headers["x-trace-id"], len(hows))
    return sorted(records, key=lambda record: record["started_at"])


def test_each_request_is_a_call(service: Service, proxy: Any, hub: HubReader) -> None:
    """With prompt, the request's other members, text and usage."""
    first, second = asked(service, proxy, hub, "a", "b")
    assert (first["prompt"], first["content"], second["content"]) == ("question a", "answer 1", "answer 2")
    assert first["request"] == {"model": "gpt-5", "metadata": {"how": "a"}, "store": False}
    assert (first["operation"], first["type"], first["http_status"]) == ("chat", "stream_completion", 101)
    assert (first["deployment"], first["model"], first["response_id"]) == ("gpt-5", "gpt-5-2026", "resp_1")
    assert (first["usage"]["prompt_tokens"], first["usage_source"], first["finish_reasons"]) == (
        9,
        "reported",
        ["stop"],
    )
    assert first["time_to_first_token_ms"] is not None
    assert first["connection_id"] == second["connection_id"]
    assert first["id"] != second["id"]


def test_a_warm_up_has_no_first_token(service: Service, proxy: Any, hub: HubReader) -> None:
    """Its usage is what was told."""
    (record,) = asked(service, proxy, hub, "warm")
    assert (record["content"], record.get("time_to_first_token_ms"), record["usage"]["total_tokens"]) == ("", None, 12)


@pytest.mark.parametrize(
    ("how", "status", "code"),
    [
        ("error", "upstream_error", "previous_response_not_found"),
        ("failed", "upstream_error", "server_error"),
        ("incomplete", "completed", None),
        ("broken", "client_aborted", None),
    ],
)
def test_other_ends(service: Service, proxy: Any, hub: HubReader, how: str, status: str, code: str | None) -> None:
    """An error fails the response that it answers; one that the client leaves keeps what was received of it."""
    (record,) = asked(service, proxy, hub, how)
    assert (record["status"], record.get("error", {}).get("code")) == (status, code)
    if how == "incomplete":
        assert record["finish_reasons"] == ["length"]
    if how == "broken":
        assert (record["content"], record["usage_source"]) == ("answer 1", "estimated")


def test_without_content(service: Service, proxy: Any, hub: HubReader) -> None:
    """PROXY_CONTENT=none: no text in the record; redacted: none that matches."""
    (record,) = asked(service, proxy, hub, "planted", PROXY_CONTENT="none")
    assert "planted" not in json.dumps(record)
    assert (record["content"], record["content_captured"], record["request"]) == (
        "",
        False,
        {"model": "gpt-5", "store": False},
    )


def test_redacted(service: Service, proxy: Any, hub: HubReader) -> None:
    """PROXY_REDACT holds within sessions too."""
    (record,) = asked(service, proxy, hub, "planted", PROXY_REDACT='["planted", "answer"]')
    assert record["prompt"] == "question [redacted]"
    assert record["content"] == "[redacted] 1"
