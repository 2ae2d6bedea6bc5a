"""What Application Insights receives for a call: every envelope decoded."""

import contextlib
import http.client
import json
import stat
from datetime import timedelta
from typing import Any

import pytest

from tests.kit.hub import HubReader
from tests.kit.ingestion import Envelope, Ingestion
from tests.kit.proxy import ProxyProcess
from tests.kit.receiver import Receiver
from tests.kit.upstream import ScriptedUpstream
from tests.kit.wire import CHAT, client
from tests.otel.conftest import ANSWER_MARK, PARENT, PROMPT_MARK, StartMonitored, question, storage, traceparent


@pytest.fixture(scope="module")
def proxy(monitored: StartMonitored, ingestion: Ingestion) -> ProxyProcess:
    return monitored(APPLICATIONINSIGHTS_CONNECTION_STRING=ingestion.conn_str)


def call(proxy: ProxyProcess, number: int, case: str = "", path: str = CHAT, **headers: str) -> None:
    stream = case in ("stream", "cut", "failed")
    with client(proxy.url) as caller:
        answer = caller.send("POST", path, question(stream), x_case=case, **traceparent(number), **headers)
        with contextlib.suppress(http.client.IncompleteRead):  # a cut stream
            answer._response.read()


def test_a_streamed_call_is_one_tree(proxy: ProxyProcess, ingestion: Ingestion, hub: HubReader) -> None:
    """A streamed call is one request, one dependency below it and its events, all in the caller's and the record's
    trace. No chunk has a span. No envelope states a sample rate: how many traces the caller dropped is unknown here."""
    call(proxy, 1, "stream")
    found = ingestion.trace(f"{1:032x}")
    kinds = sorted(envelope.kind for envelope in found)
    assert kinds == ["MessageData"] * 4 + ["RemoteDependencyData", "RequestData"]
    (request,) = [envelope for envelope in found if envelope.kind == "RequestData"]
    (dependency,) = [envelope for envelope in found if envelope.kind == "RemoteDependencyData"]
    events = [envelope for envelope in found if envelope.kind == "MessageData"]
    assert request.parent_id == PARENT
    assert dependency.parent_id == request.base["id"]
    assert {event.parent_id for event in events} == {dependency.base["id"]}
    record = hub.record(f"{1:032x}")
    assert record["span_id"] == dependency.base["id"]
    assert {envelope.tags["ai.cloud.role"] for envelope in found} == {"azure-openai-telemetry-proxy"}
    assert {envelope.sample_rate for envelope in found} == {None}


def test_a_dependency_has_target_name_and_result_code(
    proxy: ProxyProcess, ingestion: Ingestion, azure_openai: ScriptedUpstream
) -> None:
    """A call's dependency has a type, upstream's host as target, the model in its name, and a result code."""
    call(proxy, 2)
    found = ingestion.call(f"{2:032x}")
    assert found.base["type"] == "GenAI | azure.ai.openai"
    assert found.base["target"] == f"127.0.0.1:{azure_openai.port}"
    assert found.base["name"] == "chat chat-deployment"
    assert found.base["resultCode"] == "200"
    assert found.base["success"] is True


def test_facts_are_properties(proxy: ProxyProcess, ingestion: Ingestion) -> None:
    """Region, deployment, backend and status are properties; lists are JSON, never the repr of a tuple."""
    call(proxy, 3, "stream")
    properties = ingestion.call(f"{3:032x}").properties
    assert properties["proxy.region"] == "East US 2"
    assert properties["proxy.deployment"] == "chat-deployment"
    assert properties["proxy.backend"] == "default"
    assert properties["proxy.status"] == "completed"
    assert properties["gen_ai.response.model"] == "gpt-4.1-mini-2025-04-14"
    assert json.loads(properties["gen_ai.response.finish_reasons"]) == ["stop"]
    assert not any(value.startswith("(") for value in properties.values())


def test_numbers_are_measurements(proxy: ProxyProcess, ingestion: Ingestion, hub: HubReader) -> None:
    """Tokens, times in ms, chunks and attempts are measurements, with the record's values."""
    call(proxy, 4, "stream")
    measured, record = ingestion.call(f"{4:032x}").measurements, hub.record(f"{4:032x}")
    assert measured["gen_ai.usage.input_tokens"] == record["usage"]["prompt_tokens"] == 12
    assert measured["gen_ai.usage.output_tokens"] == record["usage"]["completion_tokens"] == 7
    assert measured["proxy.latency_ms"] == record["latency_ms"]
    assert measured["proxy.time_to_first_chunk_ms"] == record["time_to_first_chunk_ms"]
    assert measured["proxy.time_to_first_token_ms"] == record["time_to_first_token_ms"]
    assert measured["proxy.chunks"] == record["chunks"] == 12
    assert measured["proxy.attempts"] == 1


def test_events_have_their_times(proxy: ProxyProcess, ingestion: Ingestion) -> None:
    """First chunk, first token and end of stream are in this order within the call, `proxy.elapsed_ms` after its
    start."""
    call(proxy, 5, "stream")
    found = ingestion.trace(f"{5:032x}")
    dependency = ingestion.call(f"{5:032x}")
    events = {envelope.base["message"]: envelope for envelope in found if envelope.kind == "MessageData"}
    names = ["gen_ai.first_chunk", "gen_ai.first_token", "gen_ai.end_of_stream"]
    times = [dependency.at, *(events[name].at for name in names)]
    assert times == sorted(times)
    assert times[-1] - times[0] <= timedelta(milliseconds=dependency.measurements["proxy.latency_ms"] + 1)
    for name in names:
        elapsed = (events[name].at - dependency.at) / timedelta(milliseconds=1)
        assert events[name].measurements["proxy.elapsed_ms"] == pytest.approx(elapsed, abs=0.01)
    assert events["gen_ai.end_of_stream"].measurements["proxy.chunks"] == 12


@pytest.mark.parametrize(
    ("number", "case", "answered", "code", "error"),
    [
        (10, "throttled", 429, "429", "429"),
        (11, "filtered", 400, "400", "content_filter"),
        (12, "down", 502, "0", "upstream_unreachable"),
        (13, "failed", 200, "200", "server_error"),
    ],
)
def test_failed_calls_are_marked(
    proxy: ProxyProcess, ingestion: Ingestion, number: int, case: str, answered: int, code: str, error: str
) -> None:
    """A failed call has success false, upstream's result code (0: no response), and the error's code."""
    call(proxy, number, case)
    found = ingestion.call(f"{number:032x}")
    assert found.base["success"] is False
    assert found.base["resultCode"] == code
    assert found.properties["proxy.status"] == "upstream_error"
    assert found.properties["proxy.error.code"] == error
    (request,) = ingestion.of_trace(f"{number:032x}", "RequestData")
    assert request.base["responseCode"] == str(answered)
    assert request.base["success"] is (answered == 200)


def test_the_url_of_a_request_has_no_key(proxy: ProxyProcess, ingestion: Ingestion) -> None:
    """Only keys are removed from a request's URL; test_secrets.py looks for them everywhere."""
    path = CHAT + "&code=SECRET-1&subscription-key=SECRET-2&sig=SECRET-3&%63ode=SECRET-4&harmless=1"
    call(proxy, 30, "", path)
    (request,) = [envelope for envelope in ingestion.trace(f"{30:032x}") if envelope.kind == "RequestData"]
    assert request.base["url"] == f"{proxy.url}{CHAT}&harmless=1"


def test_requests_are_named_after_their_operation(proxy: ProxyProcess, ingestion: Ingestion) -> None:
    """A request's name tells operations apart and contains no deployment, file or response; none is marked as
    counted."""
    with client(proxy.url) as caller:
        caller.send("POST", CHAT, question(), **traceparent(40)).read()
        caller.send("GET", "/openai/files/file-123?api-version=x", **traceparent(41)).read()
    names = {40: "POST /openai/deployments/{}/chat/completions", 41: "GET /openai/files/{}"}
    for number, name in names.items():
        (request,) = [e for e in ingestion.trace(f"{number:032x}") if e.kind == "RequestData"]
        assert request.base["name"] == request.tags["ai.operation.name"] == name
        assert "_MS.ProcessedByMetricExtractors" not in request.properties


def test_an_unsampled_trace_is_not_sent(proxy: ProxyProcess, ingestion: Ingestion) -> None:
    """If the caller's sampled flag is 0, nothing of the trace is sent."""
    with client(proxy.url) as caller:
        caller.send("POST", CHAT, question(), **traceparent(50, "00")).read()
        caller.send("POST", CHAT, question(), **traceparent(51)).read()
    ingestion.trace(f"{51:032x}")
    assert ingestion.of_trace(f"{50:032x}") == []


def test_nothing_else_is_sent_or_contacted(proxy: ProxyProcess, ingestion: Ingestion, outside: Receiver) -> None:
    """No statistics, settings, live metrics or virtual machine's address: only the configured resource is contacted.
    The exporter's _OTELRESOURCE_ metric, one per batch, is off."""
    call(proxy, 60)
    ingestion.trace(f"{60:032x}")
    ingestion.wait_for(lambda: ingestion.metrics("proxy.calls.active"))
    assert [(received.path, received.headers) for received in outside.received] == []
    assert {received.path for received in ingestion.received} == {"/v2.1/track"}
    assert "_OTELRESOURCE_" not in ingestion.everything()


def test_offline_storage_is_private(proxy: Any, ingestion: Ingestion) -> None:
    """The offline storage is in the spool's directory, and nobody else can enter either."""
    call(proxy, 62)
    ingestion.trace(f"{62:032x}")
    assert stat.S_IMODE(storage(proxy).stat().st_mode) == 0o700
    assert stat.S_IMODE(storage(proxy).parent.stat().st_mode) == 0o700


def test_content_and_caller_are_sent_if_enabled(monitored: StartMonitored, ingestion: Ingestion) -> None:
    """With PROXY_TRACE_CONTENT=full content is sent, cut at 8,192 characters and 32 KB in all; with
    PROXY_TRACE_CALLER=true callers too. Content comes last, so that no cut removes tokens, region or status."""
    proxy = monitored(
        APPLICATIONINSIGHTS_CONNECTION_STRING=ingestion.conn_str, PROXY_TRACE_CONTENT="full", PROXY_TRACE_CALLER="true"
    )
    body = question(True, stop=["END"]).replace(b"What is", b"What is " + "✨".encode() * 50_000)
    with client(proxy.url) as caller:
        headers = {"x_case": "stream", "x_apim_user_id": "someone-70", **traceparent(70)}
        caller.send("POST", CHAT, body, **headers).read()
        caller.send("POST", CHAT, question(), x_case="filtered", **traceparent(71)).read()
    found = ingestion.call(f"{70:032x}")
    texts = {"proxy.prompt", "proxy.answer", "gen_ai.request.stop_sequences"}
    assert ANSWER_MARK in found.properties["proxy.answer"]
    assert found.properties["proxy.prompt"].startswith('[{"role": "user", "content": "What is ✨')
    assert found.properties["proxy.caller.user_id"] == "someone-70"
    names = list(found.properties)
    assert set(names[-3:]) == texts
    size = {name: len(value.encode()) for name, value in found.properties.items()}
    assert sum(size[name] for name in texts) <= 32 * 1024
    assert sum(size.values()) < 48 * 1024
    assert found.measurements["gen_ai.usage.input_tokens"] == 12
    failed: Envelope = ingestion.call(f"{71:032x}")
    assert PROMPT_MARK in failed.properties["proxy.error.message"]
