"""Errors: the openai SDK's exception for each, and its record."""

import json
import urllib.request
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.app.sdk.clients import sync_client, user
from tests.kit.azure import MODEL, Trace
from tests.kit.hub import HubReader
from tests.kit.proxy import KEY, ProxyThread


def test_a_wrong_client_key(running: ProxyThread) -> None:
    """The proxy's own 401 is the SDK's AuthenticationError, with its code and without the right key."""
    with sync_client(running, "wrong") as client, pytest.raises(openai.AuthenticationError) as refused:
        client.chat.completions.create(model=MODEL, messages=user("Hello"))
    assert (refused.value.code, refused.value.type) == ("invalid_api_key", "authentication_error")
    assert KEY not in str(refused.value)


def test_a_wrong_upstream_key(azure: str, proxy: Any, trace: Trace) -> None:
    """Upstream's 401 for the proxy's own key is passed on and recorded."""
    with sync_client(proxy(azure, AZURE_OPENAI_KEY="wrong")) as client, pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(model=MODEL, messages=user("Hello"), extra_headers=trace.headers)
    record = trace.record()
    assert (record["status"], record["http_status"], record["error"]["code"]) == ("upstream_error", 401, "401")


def test_a_missing_deployment_or_path(running: ProxyThread, trace: Trace) -> None:
    """Both are the SDK's NotFoundError with its code; the missing deployment is recorded."""
    with sync_client(running) as client, pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="missing", messages=user("Hello"), extra_headers=trace.headers)
    assert missing.value.code == "DeploymentNotFound"
    with OpenAI(base_url=running.url, api_key=KEY, max_retries=0) as client, pytest.raises(openai.NotFoundError) as no:
        client.chat.completions.create(model=MODEL, messages=user("Hello"))
    assert no.value.code == "not_found"
    record = trace.record()
    assert (record["http_status"], record["deployment"]) == (404, "missing")
    assert record["error"]["code"] == "DeploymentNotFound"


def test_throttling(running: ProxyThread, trace: Trace) -> None:
    """A 429 is the SDK's RateLimitError with upstream's retry-after, and is recorded."""
    headers = {**trace.headers, "x-simulate": "429; retry-after-ms=1500"}
    with sync_client(running) as client, pytest.raises(openai.RateLimitError) as limited:
        client.chat.completions.create(model=MODEL, messages=user("Hello"), extra_headers=headers)
    assert limited.value.response.headers["retry-after-ms"] == "1500"
    assert limited.value.response.headers["x-trace-id"] == trace.id
    record = trace.record()
    assert (record["status"], record["http_status"], record["error"]["code"]) == ("upstream_error", 429, "429")
    assert record["usage"] is None


def test_a_retry_of_the_sdk_is_recorded_separately(azure: str, running: ProxyThread, hub: HubReader) -> None:
    """If the SDK retries after a 429, both attempts are recorded in the caller's trace."""
    trace = Trace(hub)
    fault = json.dumps({"simulate": "429; retry-after-ms=1", "times": 1}).encode()
    urllib.request.urlopen(urllib.request.Request(f"{azure}/_simulator/faults", fault, method="POST")).close()
    with sync_client(running).with_options(max_retries=1) as client:
        assert client.chat.completions.create(model=MODEL, messages=user("Hello"), extra_headers=trace.headers).choices
    records = sorted(hub.records(trace.id, 2), key=lambda record: record["started_at"])
    assert [record["http_status"] for record in records] == [429, 200]


def test_a_filtered_prompt(running: ProxyThread, trace: Trace) -> None:
    """A filtered prompt is the SDK's BadRequestError; the record has the filter's result."""
    with sync_client(running) as client, pytest.raises(openai.BadRequestError) as filtered:
        client.chat.completions.create(model=MODEL, messages=user("[filter the prompt]"), extra_headers=trace.headers)
    assert filtered.value.code == "content_filter"
    record = trace.record()
    assert (record["http_status"], record["error"]["code"]) == (400, "content_filter")
    assert record["content_filter"]["prompt"]["hate"] == {"filtered": True, "severity": "high"}


def test_an_error_event_in_a_stream(running: ProxyThread, trace: Trace) -> None:
    """An error event is the SDK's APIError after the chunks before it; the record has both."""
    received: list[str] = []
    headers = {**trace.headers, "x-simulate": "error-event-after=5"}
    with sync_client(running) as client:
        events = client.chat.completions.create(model=MODEL, messages=user("Hello"), stream=True, extra_headers=headers)
        with pytest.raises(openai.APIError) as failed:
            received.extend(event.choices[0].delta.content or "" for event in events if event.choices)
    record = trace.record()
    assert (record["status"], record["http_status"]) == ("upstream_error", 200)
    assert record["error"]["message"] == failed.value.message
    assert record["content"] == "".join(received) != ""
