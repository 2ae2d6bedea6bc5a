"""Metrics: every call is measured, sampled or not; attributes are bounded; the proxy reports its own numbers."""

import json
from typing import Any

import pytest
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import Tracer

from otel import attributes as a
from otel.call import Attempt, Call, Choice, Request, Status, Usage
from otel.metrics import NAMES, OTHER, CallMetrics, ProxyCounts, observe_proxy
from otel.provider import make_provider
from otel.sampling import make_sampler
from otel.span import CallSpan
from tests.kit.ingestion import Ingestion
from tests.kit.proxy import ProxyProcess
from tests.kit.wire import CHAT, client
from tests.otel.conftest import StartMonitored, question

SECOND = 10**9


class Measured:
    """Ends calls, and reads the metrics recorded of them."""

    def __init__(self, caller: bool = False, sampled: float = 0.0) -> None:
        self.calls = CallMetrics(caller)
        self.reader = InMemoryMetricReader()
        self.meter = MeterProvider([self.reader], shutdown_on_exit=False).get_meter("test")
        self.calls.use(self.meter)
        self.tracer: Any = make_provider([self.calls], make_sampler(sampled)).get_tracer(a.SCOPE)

    def end(self, call: Call) -> None:
        CallSpan(self.tracer, call).finish()

    def points(self, name: str) -> list[Any]:
        data: Any = self.reader.get_metrics_data()
        found = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics if m.name == name]
        return [point for metric in found for point in metric.data.data_points]


def streamed(model: str = "gpt-4o", http_status: int = 200, **more: Any) -> Call:
    """A stream of ten chunks, the first after 0.5 s, the others within 0.9 s."""
    call = Call(operation="chat", deployment=model, request=Request(model=model, stream=True), **more)
    call.attempts.append(Attempt("default", call.arrived_ns, http_status))
    call.backend, call.region, call.http_status, call.chunks = "default", "East US 2", http_status, 10
    call.first_chunk_ns = call.arrived_ns + SECOND // 2
    call.end_ns = call.first_chunk_ns + SECOND * 9 // 10
    call.answer.model = f"{model}-2024-11-20"
    call.answer.choices = [Choice(content="x")]
    call.answer.usage = Usage(100, 20, 120)
    return call


def test_calls_are_counted_by_their_attributes() -> None:
    """Calls that differ in any attribute are counted separately, in whatever order they come; all are counted."""
    kinds: list[tuple[str, Status, str | None, str]] = [
        ("gpt-4o", Status.COMPLETED, None, "reported"),
        ("gpt-4.1", Status.COMPLETED, None, "reported"),
        ("gpt-4o", Status.COMPLETED, None, "estimated"),
        ("gpt-4o", Status.COMPLETED, "content_filter", "reported"),
        ("gpt-4o", Status.UPSTREAM_CUT, "content_filter", "reported"),
        ("gpt-4o", Status.CLIENT_ABORTED, None, "reported"),
    ]
    measured = Measured()
    for count in range(1, 4):
        for model, status, error_code, source in kinds:
            call = streamed(model)
            call.status, call.error_code, call.answer.usage_source = status, error_code, source
            measured.end(call)
        tokens = {
            (
                point.attributes["proxy.deployment"],
                point.attributes["proxy.status"],
                point.attributes.get("error.type"),
                point.attributes["proxy.usage_source"],
            ): point.sum
            for point in measured.points("gen_ai.client.token.usage")
            if point.attributes["gen_ai.token.type"] == "output"
        }
        assert tokens == {
            (model, status, error_code and status, source): 20 * count for model, status, error_code, source in kinds
        }


@pytest.mark.parametrize("names", [["gpt-4o"] * 3, ["made-up-1", "made-up-2", "made-up-3"]])
def test_the_sdk_processes_one_of_several_equal_calls(names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The others go to the same aggregations. Calls with unknown names are equal too."""
    measured, seen = Measured(), list[float]()
    for number in range(NAMES if names[0] != names[1] else 0):
        measured.end(streamed(f"model-{number}"))
    record = Histogram.record

    def counted(own: Histogram, value: float, *rest: Any) -> None:
        seen.append(value)
        record(own, value, *rest)

    monkeypatch.setattr(Histogram, "record", counted)
    for name in names:
        measured.end(streamed(name))
    assert len(seen) == 5
    assert 3 in [point.count for point in measured.points("gen_ai.client.operation.duration")]


def test_an_unsampled_call_is_measured() -> None:
    """Duration, time to first chunk, mean time per chunk after it, and both kinds of tokens, once per call."""
    measured = Measured()
    measured.end(streamed())
    (duration,) = measured.points("gen_ai.client.operation.duration")
    assert (duration.count, duration.sum) == (1, pytest.approx(1.4))
    (first,) = measured.points("gen_ai.client.operation.time_to_first_chunk")
    assert first.sum == pytest.approx(0.5)
    (each,) = measured.points("gen_ai.client.operation.time_per_output_chunk")
    assert (each.count, each.sum) == (1, pytest.approx(0.1))
    tokens = {p.attributes["gen_ai.token.type"]: p.sum for p in measured.points("gen_ai.client.token.usage")}
    assert tokens == {"input": 100, "output": 20}
    assert dict(duration.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "azure.ai.openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.response.model": "gpt-4o-2024-11-20",
        "proxy.deployment": "gpt-4o",
        "proxy.region": "East US 2",
        "proxy.backend": "default",
        "proxy.status": "completed",
    }


@pytest.mark.parametrize("sampled", [False, True])
def test_an_exemplar_has_the_calls_own_trace(sampled: bool) -> None:
    """Values of sampled calls have exemplars with their trace, which OTLP sends; values of unsampled calls have none,
    and no exemplar has the trace of another span that is current when the call ends."""
    measured = Measured(sampled=1.0 if sampled else 0.0)
    other = make_provider([], make_sampler(1.0)).get_tracer("test")
    traces = []
    for _ in range(3):
        span = CallSpan(measured.tracer, streamed())
        with other.start_as_current_span("other"):
            span.finish()
        traces.append(span.trace_id)
    (duration,) = measured.points("gen_ai.client.operation.duration")
    found = {f"{exemplar.trace_id:032x}" for exemplar in duration.exemplars}
    assert duration.count == 3
    assert found < set(traces) if sampled else not found
    assert sampled is bool(found)


def test_unknown_values_are_not_measured() -> None:
    """No tokens without upstream's usage, and no times of a stream for a call that was none."""
    measured, call = Measured(), streamed()
    call.request, call.first_chunk_ns, call.answer.usage = Request(model="gpt-4o"), None, None
    measured.end(call)
    assert measured.points("gen_ai.client.operation.duration")
    assert not measured.points("gen_ai.client.token.usage")
    assert not measured.points("gen_ai.client.operation.time_to_first_chunk")
    assert not measured.points("gen_ai.client.operation.time_per_output_chunk")


@pytest.mark.parametrize(
    ("http_status", "status", "error"),
    [
        (429, Status.UPSTREAM_ERROR, "429"),
        (None, Status.UPSTREAM_ERROR, "upstream_error"),
        (200, Status.UPSTREAM_CUT, "upstream_cut"),
    ],
)
def test_errors_have_a_type(http_status: int | None, status: Status, error: str) -> None:
    """A failed call has one of a few values of error.type: upstream's status, else how the call ended."""
    measured, call = Measured(), streamed()
    call.http_status = http_status
    call.fail(status, "whatever upstream likes to call it", "and says")
    measured.end(call)
    (duration,) = measured.points("gen_ai.client.operation.duration")
    assert duration.attributes["error.type"] == error
    assert duration.attributes["proxy.status"] == status.value


def test_callers_cannot_invent_attribute_values() -> None:
    """A model or deployment is named once upstream has accepted a call to it, up to a hundred; all others are one."""
    measured = Measured()
    for number in range(50):
        measured.end(streamed(f"made-up-{number}", 404))
    assert {p.attributes["proxy.deployment"] for p in measured.points("gen_ai.client.operation.duration")} == {OTHER}
    for number in range(NAMES + 50):
        measured.end(streamed(f"model-{number}"))
    throttled = streamed("model-1", 429)
    throttled.fail(Status.UPSTREAM_ERROR, "429", None)
    measured.end(throttled)
    names = {p.attributes["proxy.deployment"] for p in measured.points("gen_ai.client.operation.duration")}
    assert names == {OTHER, *(f"model-{number}" for number in range(NAMES))}
    failed = [p for p in measured.points("gen_ai.client.operation.duration") if p.attributes.get("error.type") == "429"]
    assert {p.attributes["proxy.deployment"] for p in failed} == {"model-1"}


def test_a_name_is_used_from_its_first_accepted_call_on() -> None:
    """Even if calls to it were measured as `_other` before."""
    measured = Measured()
    for http_status in (404, 200, 404):
        measured.end(streamed("new", http_status))
    points = measured.points("gen_ai.client.operation.duration")
    assert {(p.attributes["proxy.deployment"], p.count) for p in points} == {(OTHER, 1), ("new", 2)}


@pytest.mark.parametrize("enabled", [False, True])
def test_callers_are_attributes_only_if_enabled(enabled: bool) -> None:
    """Subscription and product are on metrics with PROXY_TRACE_CALLER=true, users and sessions never."""
    measured = Measured(caller=enabled)
    measured.end(streamed(caller={"subscription_id": "s-1", "product": "p-1", "user_id": "u-1", "session_id": "x"}))
    (duration,) = measured.points("gen_ai.client.operation.duration")
    named = {name: value for name, value in duration.attributes.items() if name.startswith(a.CALLER)}
    expected = {a.CALLER + "subscription_id": "s-1", a.CALLER + "product": "p-1"}
    assert named == (expected if enabled else {})


def test_open_streams_are_counted() -> None:
    """A stream is active from its span's start to its end; a call not known to be a stream at its start is not."""
    measured = Measured()
    tracer: Tracer = measured.tracer
    spans = [CallSpan(tracer, streamed()) for _ in range(3)]
    form = Call(operation="transcribe")
    other = CallSpan(tracer, form)
    assert [point.value for point in measured.points("proxy.streams.active")] == [3]
    form.request = Request(stream=True)
    for span in (*spans, other):
        span.finish()
        span.finish()
    assert [point.value for point in measured.points("proxy.streams.active")] == [0]


def test_the_proxys_own_numbers() -> None:
    """Calls and streams in flight, and records waiting, sent, lost by reason and refused by code, are read on
    export."""
    measured = Measured()
    for _ in range(3):
        CallSpan(measured.tracer, streamed())
    counts = ProxyCounts(4, 30, 2000, 1.5, 70, {"spool_full": 2}, {"invalid_api_key": 3}, 1e9, 5, 600)
    observe_proxy(measured.meter, lambda: counts, lambda: {"queue_full": 9})
    expected = {
        "proxy.calls.active": [(4, {})],
        "proxy.streams.active": [(3, {})],
        "proxy.spool.records": [(30, {})],
        "proxy.spool.bytes": [(2000, {})],
        "proxy.spool.memory": [(600, {})],
        "proxy.spool.age": [(1.5, {})],
        "proxy.records.sent": [(70, {})],
        "proxy.records.last_sent": [(1e9, {})],
        "proxy.calls.unjournalled": [(5, {})],
        "proxy.records.lost": [(2, {"reason": "spool_full"})],
        "proxy.refusals": [(3, {"code": "invalid_api_key"})],
        "proxy.spans.lost": [(9, {"reason": "queue_full"})],
    }
    for name, points in expected.items():
        assert [(point.value, dict(point.attributes)) for point in measured.points(name)] == points


@pytest.fixture(scope="module")
def proxy(monitored: StartMonitored, ingestion: Ingestion) -> ProxyProcess:
    return monitored(APPLICATIONINSIGHTS_CONNECTION_STRING=ingestion.conn_str, PROXY_TRACE_RATIO="0")


def test_metrics_reach_application_insights(proxy: ProxyProcess, ingestion: Ingestion) -> None:
    """All calls are counted though no trace is sent, and so are records, refusals and streams in flight, and nothing
    else: the distro's instrumentations do not measure the exporter's own requests."""
    with client(proxy.url) as caller:
        for _ in range(3):
            caller.send("POST", CHAT, question(True), x_case="stream").read()
        refused = caller.send("POST", CHAT, question(), api_key="wrong")
        assert (refused.status, b"invalid_api_key" in refused.read()) == (401, True)
        endless = caller.send("POST", CHAT, question(True), x_case="endless")
        endless.some()
        ingestion.wait_for(lambda: [e for e in ingestion.metrics("proxy.streams.active") if _value(e) == 1])
    ingestion.wait_for(lambda: sum(map(_value, ingestion.metrics("proxy.records.sent"))) >= 4)
    ingestion.wait_for(lambda: ingestion.metrics("proxy.refusals"))
    assert [_value(e) for e in ingestion.metrics("proxy.refusals")][:1] == [1]
    assert ingestion.metrics("proxy.refusals")[0].properties == {"code": "invalid_api_key"}
    ingestion.wait_for(lambda: sum(_count(e) for e in ingestion.metrics("gen_ai.client.operation.duration")) == 4)
    tokens = [
        e for e in ingestion.metrics("gen_ai.client.token.usage") if e.properties["proxy.usage_source"] == "reported"
    ]
    assert sum(_value(e) for e in tokens if e.properties["gen_ai.token.type"] == "output") == 21
    assert {e.metric.partition(".")[0] for e in ingestion.envelopes("MetricData") if e.metric} == {"gen_ai", "proxy"}
    assert not ingestion.envelopes("RequestData", "RemoteDependencyData")
    assert "127.0.0.1" not in json.dumps([e.base for e in ingestion.envelopes("MetricData")])


def _value(envelope: Any) -> float:
    return float(envelope.base["metrics"][0]["value"])


def _count(envelope: Any) -> int:
    return int(envelope.base["metrics"][0]["count"])
