"""The simulator's headers and errors match the service."""

import json
from collections.abc import Callable
from typing import Any

import openai
import pytest

from tests.dev.simulator import CHAT, SURFACES, Service, user


def test_response_headers(service: Service) -> None:
    """A response names region, deployment, limits and its ids, and echoes the client's request id."""
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


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"api_key": ""}, "Access denied due to invalid subscription key"),
        ({"api_key": "wrong"}, "Access denied due to invalid subscription key"),
        ({"api_key": None, "authorization": "Bearer wrong"}, "Unauthorized. Access token is missing, invalid"),
    ],
    ids=["none", "api-key", "bearer"],
)
def test_a_missing_or_wrong_key_is_denied(service: Service, keys: dict[str, Any], words: str) -> None:
    """A missing key, or a wrong one as api-key or as bearer, gets the gateway's 401."""
    status, _, body = service.request("POST", CHAT, {}, **keys)
    error = json.loads(body)["error"]
    assert (status, error["code"]) == (401, "401")
    assert error["message"].startswith(words)


@pytest.mark.parametrize("surface", SURFACES)
def test_an_unknown_deployment(service: Service, surface: str) -> None:
    """An unknown deployment is a 404 whose headers name the region, without the headers of a model."""
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
def test_an_unknown_path_is_not_found(service: Service, method: str, path: str) -> None:
    """An unknown path, or one without its api-version, gets the gateway's 404."""
    status, headers, body = service.request(method, path, {} if method == "POST" else None)
    assert (status, json.loads(body)) == (404, {"error": {"code": "404", "message": "Resource not found"}})
    assert "x-request-id" not in headers


@pytest.mark.parametrize("operation", ["chat", "responses", "completions"])
def test_a_filtered_prompt(service: Service, operation: str) -> None:
    """A filtered prompt is a 400 with the filter's findings."""
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
def test_an_invalid_body(service: Service, body: bytes, param: str | None) -> None:
    """A body that is not a JSON object, or has no messages, is a 400 of type invalid_request_error."""
    path = "/openai/deployments/prod/chat/completions?api-version=2024-10-21"
    status, _, response = service.request("POST", path, body)
    error = json.loads(response)["error"]
    assert (status, error["type"], error["param"]) == (400, "invalid_request_error", param)


@pytest.mark.parametrize(
    ("api_version", "more", "status", "words"),
    [
        ("2024-10-21", {}, 400, "only allowed when 'stream' is enabled"),
        ("2024-06-01", {"stream": True}, 400, "Unrecognized request argument supplied: stream_options"),
        ("2024-08-01-preview", {"stream": True}, 400, "Unrecognized request argument supplied: stream_options"),
        ("2024-09-01-preview", {"stream": True}, 200, '"total_tokens"'),
        ("2024-10-21", {"stream": True, "data_sources": [{}]}, 400, "Extra inputs are not permitted"),
    ],
)
def test_stream_options_depend_on_stream_api_version_and_data_sources(
    service: Service, api_version: str, more: dict[str, Any], status: int, words: str
) -> None:
    """stream_options are a 400 without a stream, before api-version 2024-09-01-preview, and with data_sources."""
    body = {"messages": user("Hi"), "stream_options": {"include_usage": True}} | more
    path = f"/openai/deployments/prod/chat/completions?api-version={api_version}"
    found, _, response = service.request("POST", path, body)
    assert found == status
    assert words in (json.loads(response)["error"]["message"] if status == 400 else response.decode())


def test_a_429_says_when_to_retry(service: Service) -> None:
    """A 429 gives retry-after in seconds and milliseconds, and no remaining requests."""
    with pytest.raises(openai.RateLimitError, match="Please retry after 2 seconds") as limited:
        service.chat("Hi", "429;retry-after-ms=1500")
    headers = limited.value.response.headers
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("2", "1500")
    assert (headers["x-ratelimit-remaining-requests"], limited.value.code) == ("0", "429")


@pytest.mark.parametrize("status", [408, 422, 500, 503])
def test_any_error_status_can_be_simulated(service: Service, status: int) -> None:
    """Any error status can be simulated, with a JSON error and without retry-after by default."""
    with pytest.raises(openai.APIStatusError) as failed:
        service.respond("Hi", f"status={status}")
    body: Any = failed.value.body
    assert (failed.value.status_code, bool(body["message"])) == (status, True)
    assert "retry-after" not in failed.value.response.headers
