"""The openai SDK for JavaScript, unmodified, through the proxy: the record matches what it received."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.kit.azure import DATED, MODEL, Trace
from tests.kit.proxy import KEY, ProxyProcess

pytestmark = pytest.mark.heavy

type Use = Callable[..., Any]


@pytest.fixture
def use(scripts: Path, running: ProxyProcess, trace: Trace) -> Use:
    """Run one use of azure.mjs, as `use("json", SIMULATE="…")`, and return what it printed."""

    def run(name: str, **more: str) -> Any:
        environ = {"PATH": os.environ["PATH"], "PROXY_URL": running.url, "PROXY_KEY": KEY, "TRACEPARENT": trace.parent}
        ended = subprocess.run(
            ["node", "azure.mjs", name],
            cwd=scripts,
            env={**environ, **more},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    return run


def test_a_json_call(use: Use, trace: Trace) -> None:
    """A plain call through AzureOpenAI: the record has what the SDK received, and the response the trace."""
    seen = use("json")
    record = trace.record()
    assert seen["trace"] == trace.id
    assert (record["response_id"], record["content"], record["usage"]) == (seen["id"], seen["content"], seen["usage"])
    assert (record["type"], record["status"], record["model"]) == ("completion", "completed", DATED)
    assert (record["deployment"], record["api_version"]) == (MODEL, "2024-10-21")
    assert record["prompt"] == [{"role": "user", "content": "What is a trace? ✨"}]


@pytest.mark.parametrize("asked", [True, False])
def test_a_streamed_call(use: Use, trace: Trace, asked: bool) -> None:
    """Text and events are those that the SDK saw. The record has the usage; the SDK has it only if it asked."""
    seen = use("stream" if asked else "streamWithoutUsage")
    record = trace.record()
    assert seen["content"]
    assert record["content"] == seen["content"]
    assert (record["type"], record["status"], record["usage_source"]) == ("stream_completion", "completed", "reported")
    assert (seen["usage"] == record["usage"]) if asked else (seen["usage"] is None)
    assert seen["chunks"] == record["chunks"] - (not asked)
    assert seen["empty"] == 1 + asked  # the prompt's filter results, and the usage


def test_the_v1_surface(use: Use, trace: Trace) -> None:
    """OpenAI's client with the base URL …/openai/v1: the deployment is the body's model, without an api-version."""
    seen = use("v1")
    record = trace.record()
    assert seen["content"]
    assert (record["content"], record["deployment"]) == (seen["content"], MODEL)
    assert "api_version" not in record


@pytest.mark.parametrize("name", ["tools", "streamedTools"])
def test_tool_calls(use: Use, trace: Trace, name: str) -> None:
    """Two parallel tool calls, streamed or not, are recorded as the SDK assembles them."""
    seen = use(name)
    record = trace.record()
    assert len(seen["tool_calls"]) == 2
    assert (record["tool_calls"], record["content"]) == (seen["tool_calls"], "")
    assert record["finish_reasons"] == ["tool_calls"]


def test_an_agent_loop(use: Use, trace: Trace) -> None:
    """`runTools` calls model, tool and model again: two records in one trace, the second with all earlier messages."""
    seen = use("agent")
    first, second = trace.records(2)
    assert seen["messages"] == ["user", "assistant", "tool", "assistant"]
    assert [call["name"] for call in first["tool_calls"]] == ["weather"]
    assert [message["role"] for message in second["prompt"]] == seen["messages"][:-1]
    assert second["content"] == seen["content"] != ""


def test_structured_output(use: Use, trace: Trace) -> None:
    """`chat.completions.parse` gets its object; the record has its text."""
    seen = use("structured")
    assert set(seen["parsed"]) == {"name", "height"}
    assert json.loads(trace.record()["content"]) == seen["parsed"]


def test_embeddings(use: Use, trace: Trace) -> None:
    """The SDK gets its vectors, in base64; the record has texts and usage, and no vectors."""
    seen = use("embeddings")
    record = trace.record()
    assert (seen["lengths"], seen["isNumber"]) == ([1536, 1536], True)
    assert (record["operation"], record["prompt"], record["content"]) == ("embeddings", ["one", "two 2"], "")
    assert record["usage"] == seen["usage"]
    assert len(json.dumps(record)) < 2000


def test_responses(use: Use, trace: Trace) -> None:
    """`responses.create`: text, usage and instructions are recorded."""
    seen = use("responses")
    record = trace.record()
    assert seen["output_text"]
    assert (record["response_id"], record["content"]) == (seen["id"], seen["output_text"])
    assert (record["prompt"], record["instructions"], record["deployment"]) == ("Hello", "Be brief.", MODEL)
    assert record["usage"]["prompt_tokens"] == seen["usage"]["input_tokens"]
    assert record["usage"]["completion_tokens"] == seen["usage"]["output_tokens"]


def test_streamed_responses(use: Use, trace: Trace) -> None:
    """`responses.stream` with a format parses its object; the record has its text and the number of events."""
    seen = use("streamedResponses")
    record = trace.record()
    assert seen["last"] == "response.completed"
    assert (record["content"], record["response_id"]) == (seen["output_text"], seen["id"])
    assert json.loads(record["content"]) == seen["output_parsed"]
    assert (record["type"], record["status"], record["chunks"]) == ("stream_completion", "completed", seen["events"])


def test_an_upload(use: Use, trace: Trace) -> None:
    """For a form of a megabyte the record has the transcript and not the audio."""
    seen = use("upload")
    record = trace.record()
    assert seen["text"]
    assert (record["operation"], record["content"], record["prompt"]) == ("transcription", seen["text"], None)
    assert record["request_bytes"] > 1 << 20


@pytest.mark.parametrize(
    ("environ", "name", "status", "code"),
    [
        ({"PROXY_KEY": "wrong"}, "AuthenticationError", 401, "invalid_api_key"),
        ({"MODEL": "missing"}, "NotFoundError", 404, "DeploymentNotFound"),
        ({"PROMPT": "[filter the prompt]"}, "BadRequestError", 400, "content_filter"),
        ({"SIMULATE": "429; retry-after-ms=1500"}, "RateLimitError", 429, "429"),
        ({"SIMULATE": "status=503"}, "InternalServerError", 503, None),
    ],
)
def test_errors(use: Use, trace: Trace, environ: dict[str, str], name: str, status: int, code: str | None) -> None:
    """Each error is the SDK's exception for it, with code and trace; all but the proxy's own are recorded."""
    seen = use("fail", **environ)
    assert (seen["class"], seen["status"]) == (name, status)
    assert code in (None, seen["code"])
    assert seen["headers"]["x-trace-id"] == trace.id
    if status == 429:
        assert seen["headers"]["retry-after-ms"] == "1500"
    if status != 401:
        record = trace.record()
        assert (record["status"], record["http_status"]) == ("upstream_error", status)
        assert code in (None, record["error"]["code"])


def test_an_error_event_in_a_stream(use: Use, trace: Trace) -> None:
    """An error event is the SDK's APIError after the chunks before it; the record has both."""
    seen = use("failInStream", SIMULATE="error-event-after=5")
    record = trace.record()
    assert seen["class"] == "APIError"
    assert record["content"] == seen["content"] != ""
    assert (record["status"], record["http_status"]) == ("upstream_error", 200)
    assert record["error"]["message"] in seen["message"]


def test_breaking_off_a_stream(use: Use, trace: Trace) -> None:
    """`break` in the loop over the events ends the call: the record is client_aborted and has what arrived."""
    seen = use("leave", SIMULATE="stall-after=6")
    record = trace.record()
    assert seen["aborted"] is True
    assert record["status"] == "client_aborted"
    assert record["content"].startswith(seen["content"])
    assert seen["content"]
