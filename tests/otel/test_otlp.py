"""OTLP: a collector gets the same traces and metrics, scrubbed alike, with or without Application Insights."""

import signal
from typing import Any

import pytest

from tests.kit.ingestion import Ingestion
from tests.kit.otlp import Collector, attributes
from tests.kit.proxy import ProxyProcess
from tests.kit.receiver import Receiver
from tests.kit.wire import CHAT, client
from tests.otel.conftest import ANSWER_MARK, PROMPT_MARK, StartMonitored, question

SPAN = "b7ad6b7169203331"
SERVER, CLIENT, ERROR = 2, 3, 2  # opentelemetry/proto/trace/v1/trace.proto


def trace(number: int, flag: str = "01") -> dict[str, str]:
    return {"traceparent": f"00-{number:032x}-{SPAN}-{flag}"}


@pytest.fixture(scope="module")
def proxy(monitored: StartMonitored, collector: Collector) -> ProxyProcess:
    return monitored(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url + "/", OTEL_SERVICE_NAME="my-proxy")


def spans(collector: Collector, number: int) -> dict[int, Any]:
    """The two spans of a trace by their kinds."""
    found = collector.wait_for(lambda: collector.spans(f"{number:032x}")[1:] and collector.spans(f"{number:032x}"))
    by_kind: dict[int, Any] = {span.kind: span for span in found}
    assert len(found) == len(by_kind) == 2
    return by_kind


def test_a_collector_gets_the_tree(proxy: ProxyProcess, collector: Collector) -> None:
    """Request and call are spans with the right kinds and parents, GenAI attributes and the stream's events."""
    with client(proxy.url) as caller:
        caller.send("POST", CHAT, question(True), x_case="stream", **trace(1)).read()
    found = spans(collector, 1)
    assert found[SERVER].parent_span_id.hex() == SPAN
    assert found[CLIENT].parent_span_id == found[SERVER].span_id
    assert found[CLIENT].name == "chat chat-deployment"
    facts = attributes(found[CLIENT])
    assert facts["gen_ai.usage.output_tokens"] == 7
    assert facts["gen_ai.response.finish_reasons"] == ["stop"]
    assert facts["server.address"] == "127.0.0.1"
    names = [event.name for event in found[CLIENT].events]
    assert names == ["proxy.attempt", "gen_ai.first_chunk", "gen_ai.first_token", "gen_ai.end_of_stream"]
    assert collector.service_names() == {"my-proxy"}


def test_nothing_said_and_no_key_reaches_a_collector(proxy: ProxyProcess, collector: Collector) -> None:
    """Content, error messages, callers and keys are as absent here as from Application Insights."""
    path = CHAT + "&code=SECRET-1&sig=SECRET-2"
    with client(proxy.url) as caller:
        caller.send("POST", path, question(stop=["SECRET-3"]), x_apim_user_id="SECRET-4", **trace(2)).read()
        caller.send("POST", path, question(), x_case="filtered", **trace(3)).read()
    spans(collector, 2)
    failed = spans(collector, 3)[CLIENT]
    assert failed.status.code == ERROR
    assert failed.status.message == "content_filter"
    for body in collector.bodies:
        assert not any(secret.encode() in body for secret in (PROMPT_MARK, ANSWER_MARK, "SECRET"))


def test_one_odd_text_loses_no_batch(proxy: ProxyProcess, collector: Collector) -> None:
    """A lone surrogate, which JSON can hold and protobuf can't, does not cost the spans that leave with it."""
    with client(proxy.url) as caller:
        odd = question().replace(b"{", b'{"model": "gpt-\\ud83d", "service_tier": "\\ud83d", ', 1)
        caller.send("POST", "/openai/v1/chat/completions", odd, **trace(4)).read()
        caller.send("POST", CHAT, question(), **trace(5)).read()
    assert spans(collector, 4)[CLIENT].name == "chat gpt-?"
    spans(collector, 5)


def test_unsampled_traces_stay_here(proxy: ProxyProcess, collector: Collector) -> None:
    """Sampling holds for a collector too."""
    with client(proxy.url) as caller:
        caller.send("POST", CHAT, question(), **trace(6, "00")).read()
        caller.send("POST", CHAT, question(), **trace(7)).read()
    spans(collector, 7)
    assert collector.spans(f"{6:032x}") == []


def test_metrics_have_the_conventions_buckets(proxy: ProxyProcess, collector: Collector) -> None:
    """The four GenAI metrics arrive with the conventions' units and buckets."""
    with client(proxy.url) as caller:
        caller.send("POST", CHAT, question(True), x_case="stream").read()
    seconds = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
    tokens = [1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864]
    expected = {
        "gen_ai.client.operation.duration": ("s", seconds),
        "gen_ai.client.operation.time_to_first_chunk": ("s", seconds),
        "gen_ai.client.operation.time_per_output_chunk": ("s", seconds),
        "gen_ai.client.token.usage": ("{token}", tokens),
    }
    for name, (unit, bounds) in expected.items():
        collector.wait_for(lambda name=name: collector.metrics(name))  # type: ignore[misc]
        metric = collector.metrics(name)[-1]
        assert metric.unit == unit
        assert list(metric.histogram.data_points[0].explicit_bounds) == pytest.approx(bounds)


def test_nobody_but_the_collector_is_called(proxy: ProxyProcess, collector: Collector, outside: Receiver) -> None:
    """Without Application Insights nothing of it runs."""
    assert {received.path for received in collector.received} <= {"/v1/traces", "/v1/metrics"}
    assert outside.received == []


def test_both_at_once(monitored: StartMonitored, collector: Collector, ingestion: Ingestion) -> None:
    """Application Insights and a collector each get the whole trace and all metrics, the last ones at the stop."""
    proxy = monitored(
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_SERVICE_NAME="both",
        APPLICATIONINSIGHTS_CONNECTION_STRING=ingestion.conn_str,
        OTEL_METRIC_EXPORT_INTERVAL="600000",
    )
    with client(proxy.url) as caller:
        caller.send("POST", CHAT, question(True), x_case="stream", **trace(8)).read()
    spans(collector, 8)
    ingestion.trace(f"{8:032x}")
    proxy.signal(signal.SIGTERM)
    proxy.wait(60)
    assert ingestion.metrics("gen_ai.client.token.usage")
    points = collector.metrics("gen_ai.client.token.usage", service="both")[-1].histogram.data_points
    assert {attributes(point)["gen_ai.token.type"]: point.sum for point in points} == {"input": 12, "output": 7}
