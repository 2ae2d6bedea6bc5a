"""The simulator's headers and errors are those of the service."""

import json
from collections.abc import Callable
from typing import Any

import openai
import pytest

from tests.dev.simulator import CHAT, SURFACES, Service, user


def test_headers_of_an_answer(service: Service) -> None:
    """An answer names region, deployment, limits and its own ids, and echoes the client's request id."""
    body = {"model": "prod", "messages": user("Hi")}
    _, headers, _ = service.request("POST", CHAT, body, x_ms_client_request_id="mine")
    assert headers["x-ms-region"] == "West Europe"
    assert headers["x-ms-deployment-name"] == "prod"
    assert headers["x-ms-client-request-id"] == "mine"
    assert headers["x-ms-is-spilled-over"] == "false"
    assert headers["x-accel-buffering"] == "no"
    assert headers["apim-request-id"] != headers["x-request-id"]
    assert "server" not in headers
    for limited in ("tokens", "requests"):
        remaining, limit = (headers[f"x-ratelimit-{kind}-{limited}"] for kind in ("remaining", "limit"))
        assert int(remaining) < int(limit)


@pytest.mark.parametrize("surface", SURFACES)
def test_a_wrong_key_is_denied(service: Service, surface: str) -> None:
    """With the wrong key, as api-key or as bearer, there is a 401 in the gateway's words."""
    client = service.client(surface, key="wrong")
    with pytest.raises(openai.AuthenticationError) as denied:
        client.chat.completions.create(model="prod", messages=user("Hi"))
    assert denied.value.code == "401"


def test_no_key_is_denied(service: Service) -> None:
    """A request that shows nothing is told of its subscription key."""
    status, _, body = service.request("POST", CHAT, {}, api_key="")
    error = json.loads(body)["error"]
    assert (status, error["code"]) == (401, "401")
    assert error["message"].startswith("Access denied due to invalid subscription key")


@pytest.mark.parametrize("surface", SURFACES)
def test_a_missing_deployment(service: Service, surface: str) -> None:
    """A deployment that is not there is a 404 whose headers name the region, and nothing of a model."""
    with pytest.raises(openai.NotFoundError) as missing:
        service.chat("Hi", surface=surface, model="missing")
    assert missing.value.code == "DeploymentNotFound"
    headers = missing.value.response.headers
    ours = {name for name in headers if name.startswith(("x-ms", "x-r", "apim"))}
    assert (ours, headers["x-ms-region"]) == ({"x-ms-region", "apim-request-id"}, "West Europe")
    assert "content-type" not in headers


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/openai/deployments/prod/chat/completions"),
        ("POST", "/openai/deployments/prod/chat/completions?api-version=soon"),
        ("GET", "/openai/deployments/prod/chat/completions?api-version=2024-10-21"),
        ("POST", "/openai/chat/completions?api-version=2024-10-21"),
        ("POST", "/openai/deployments/prod/responses?api-version=2024-10-21"),
        ("GET", "/openai/models"),
        ("GET", "/openai/v1/assistants"),
        ("GET", "/"),
    ],
)
def test_anything_else_is_not_found(service: Service, method: str, path: str) -> None:
    """A path that leads nowhere, or lacks its api-version, is a 404 in the gateway's words."""
    status, headers, body = service.request(method, path, {} if method == "POST" else None)
    assert (status, json.loads(body)) == (404, {"error": {"code": "404", "message": "Resource not found"}})
    assert "x-request-id" not in headers


@pytest.mark.parametrize("operation", ["chat", "responses", "completions"])
def test_a_filtered_prompt(service: Service, operation: str) -> None:
    """A prompt that the filter stops is a 400 that says what was found."""
    prompt = "[filter the prompt]"
    calls: dict[str, Callable[[], object]] = {
        "chat": lambda: service.chat(prompt, stream=True),
        "responses": lambda: service.respond(prompt),
        "completions": lambda: service.client().completions.create(model="prod", prompt=prompt),
    }
    with pytest.raises(openai.BadRequestError) as filtered:
        calls[operation]()
    body: Any = filtered.value.body
    assert (body["code"], body["status"]) == ("content_filter", 400)
    assert body["innererror"]["content_filter_result"]["hate"] == {"filtered": True, "severity": "high"}


@pytest.mark.parametrize(
    ("body", "param"),
    [(b"{not json", None), (b"[]", None), (b"{}", "messages"), (b'{"messages": []}', None)],
)
def test_a_body_that_cannot_be_read(service: Service, body: bytes, param: str | None) -> None:
    """What is no JSON object, or has no messages, is a 400 of type invalid_request_error."""
    path = "/openai/deployments/prod/chat/completions?api-version=2024-10-21"
    status, _, answer = service.request("POST", path, body)
    error = json.loads(answer)["error"]
    assert (status, error["type"], error["param"]) == (400, "invalid_request_error", param)


@pytest.mark.parametrize(
    ("api_version", "more", "words"),
    [
        ("2024-10-21", {}, "only allowed when 'stream' is enabled"),
        ("2024-06-01", {"stream": True}, "Unrecognized request argument supplied: stream_options"),
        ("2024-08-01-preview", {"stream": True}, "Unrecognized request argument supplied: stream_options"),
        ("2024-10-21", {"stream": True, "data_sources": [{}]}, "Extra inputs are not permitted"),
    ],
)
def test_stream_options_where_they_are_not_taken(
    service: Service, api_version: str, more: dict[str, Any], words: str
) -> None:
    """stream_options are a 400 without a stream, before their api-version, and with data_sources."""
    body = {"messages": user("Hi"), "stream_options": {"include_usage": True}} | more
    path = f"/openai/deployments/prod/chat/completions?api-version={api_version}"
    status, _, answer = service.request("POST", path, body)
    assert status == 400
    assert words in json.loads(answer)["error"]["message"]


def test_stream_options_are_taken_from_their_first_version_on(service: Service) -> None:
    """2024-09-01-preview is the first api-version that takes stream_options."""
    body = {"messages": user("Hi"), "stream": True, "stream_options": {"include_usage": True}}
    path = "/openai/deployments/prod/chat/completions?api-version=2024-09-01-preview"
    status, _, answer = service.request("POST", path, body)
    assert (status, b'"total_tokens"' in answer) == (200, True)


def test_too_many_requests(service: Service) -> None:
    """A 429 says when to come back, in whole seconds and in milliseconds, and that nothing remains."""
    with pytest.raises(openai.RateLimitError, match="Please retry after 2 seconds") as limited:
        service.chat("Hi", "429;retry-after-ms=1500")
    headers = limited.value.response.headers
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("2", "1500")
    assert (headers["x-ratelimit-remaining-requests"], limited.value.code) == ("0", "429")


@pytest.mark.parametrize("status", [408, 422, 500, 503])
def test_other_errors(service: Service, status: int) -> None:
    """Any status from 400 on can be had, with an error in JSON and no retry-after unless given."""
    with pytest.raises(openai.APIStatusError) as failed:
        service.respond("Hi", f"status={status}")
    body: Any = failed.value.body
    assert (failed.value.status_code, bool(body["message"])) == (status, True)
    assert "retry-after" not in failed.value.response.headers
