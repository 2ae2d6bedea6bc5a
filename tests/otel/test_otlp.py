"""OTLP: a collector gets the same traces and metrics, with or without Application Insights."""

import signal
from typing import Any

import pytest

from tests.kit.ingestion import Ingestion
from tests.kit.otlp import Collector, attributes
from tests.kit.proxy import ProxyProcess
from tests.kit.receiver import Receiver
from tests.kit.wire import CHAT, client
from tests.otel.conftest import PARENT, StartMonitored, question, stream_calls, traceparent

SERVER, CLIENT, ERROR = 2, 3, 2  # opentelemetry/proto/trace/v1/trace.proto


@pytest.fixture(scope="module")
def proxy(monitored: StartMonitored, collector: Collector) -> ProxyProcess:
    return monitored(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url + "/", OTEL_SERVICE_NAME="my-proxy")


def spans(collector: Collector, number: int) -> dict[int, Any]:
    """The two spans of a trace, by kind."""
    found = collector.wait_for(lambda: collector.spans(f"{number:032x}")[1:] and collector.spans(f"{number:032x}"))
    by_kind: dict[int, Any] = {span.kind: span for span in found}
    assert len(found) == len(by_kind) == 2
    return by_kind


def test_a_collector_gets_the_trace(proxy: ProxyProcess, collector: Collector) -> None:
    """Request and call are spans with the right kinds and parents, GenAI attributes and the stream's events."""
    stream_calls(proxy.url, 1, **traceparent(1))
    found = spans(collector, 1)
    assert found[SERVER].parent_span_id.hex() == PARENT
    assert found[CLIENT].parent_span_id == found[SERVER].span_id
    assert found[CLIENT].name == "chat chat-deployment"
    facts = attributes(found[CLIENT])
    assert facts["gen_ai.usage.output_tokens"] == 7
    assert facts["gen_ai.response.finish_reasons"] == ["stop"]
    assert facts["server.address"] == "127.0.0.1"
    names = [event.name for event in found[CLIENT].events]
    assert names == ["proxy.attempt", "gen_ai.first_chunk", "gen_ai.first_token", "gen_ai.end_of_stream"]
    assert collector.service_names(found[CLIENT].trace_id) == {"my-proxy"}


def test_a_failed_calls_status_is_the_errors_code(proxy: ProxyProcess, collector: Collector) -> None:
    """The status has the error's code, not its message."""
    with client(proxy.url) as caller:
        caller.send("POST", CHAT, question(), x_case="filtered", **traceparent(3)).read()
    status = spans(collector, 3)[CLIENT].status
    assert (status.code, status.message) == (ERROR, "content_filter")


def test_a_lone_surrogate_loses_no_batch(proxy: ProxyProcess, collector: Collector) -> None:
    """A lone surrogate, which JSON can escape and protobuf cannot encode, does not lose the other spans of its
    batch."""
    with client(proxy.url) as caller:
        odd = question().replace(b"{", b'{"model": "gpt-\\ud83d", "service_tier": "\\ud83d", ', 1)
        caller.send("POST", "/openai/v1/chat/completions", odd, **traceparent(4)).read()
        caller.send("POST", CHAT, question(), **traceparent(5)).read()
    assert spans(collector, 4)[CLIENT].name == "chat gpt-?"
    spans(collector, 5)


def test_metrics_have_the_conventions_buckets(proxy: ProxyProcess, collector: Collector) -> None:
    """The four GenAI metrics arrive with the conventions' units and buckets."""
    stream_calls(proxy.url, 1)
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


def test_only_the_collector_is_contacted(proxy: ProxyProcess, collector: Collector, outside: Receiver) -> None:
    """Without Application Insights none of its parts run."""
    assert {received.path for received in collector.received} <= {"/v1/traces", "/v1/metrics"}
    assert outside.received == []


def test_both_destinations_get_everything(
    monitored: StartMonitored, collector: Collector, ingestion: Ingestion
) -> None:
    """Application Insights and a collector each get the whole trace and all metrics, the last ones at shutdown."""
    proxy = monitored(
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_SERVICE_NAME="both",
        APPLICATIONINSIGHTS_CONNECTION_STRING=ingestion.conn_str,
        OTEL_METRIC_EXPORT_INTERVAL="600000",
    )
    stream_calls(proxy.url, 1, **traceparent(8))
    spans(collector, 8)
    ingestion.trace(f"{8:032x}")
    proxy.signal(signal.SIGTERM)
    proxy.wait(60)
    assert ingestion.metrics("gen_ai.client.token.usage")
    points = collector.metrics("gen_ai.client.token.usage", service="both")[-1].histogram.data_points
    assert {attributes(point)["gen_ai.token.type"]: point.sum for point in points} == {"input": 12, "output": 7}
