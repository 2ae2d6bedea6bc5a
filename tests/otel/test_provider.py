"""The provider: every span is recorded, every call reaches the record's exporter, and nothing of that can hurt."""

from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, TraceState, set_span_in_context

from otel.attributes import SCOPE
from otel.processor import RecordProcessor
from otel.provider import RecordAll, make_provider

STATE = TraceState([("vendor", "value")])


class _Spans(SpanProcessor):
    def __init__(self) -> None:
        self.started: list[dict[str, Any]] = []
        self.ended: list[ReadableSpan] = []

    def on_start(self, span: Span, parent_context: object = None) -> None:
        self.started.append(dict(span.attributes or {}))

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span)


class _Exporter(SpanExporter):
    """Takes spans in, or fails to."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault
        self.exported: list[str] = []
        self.flushed: list[int] = []
        self.shut = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self.fault:
            raise self.fault
        self.exported += [span.name for span in spans]
        return SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        self.flushed.append(timeout_millis)
        return timeout_millis > 5

    def shutdown(self) -> None:
        self.shut = True


def parent(flags: int) -> Any:
    context = SpanContext(0xA1, 0xB2, is_remote=True, trace_flags=TraceFlags(flags), trace_state=STATE)
    return set_span_in_context(NonRecordingSpan(context))


@pytest.mark.parametrize(
    ("sampler", "flags", "sampled"),
    [
        (ALWAYS_OFF, None, False),
        (ALWAYS_ON, None, True),
        (ParentBased(ALWAYS_ON), 0, False),
        (ParentBased(ALWAYS_OFF), 1, True),
    ],
)
def test_every_span_is_recorded_sampled_or_not(sampler: Sampler, flags: int | None, sampled: bool) -> None:
    """The sampler decides the flag and nothing else: attributes given at the start are on the span, and its trace
    state is the parent's."""
    spans = _Spans()
    tracer = make_provider([spans], sampler).get_tracer(SCOPE)
    context = None if flags is None else parent(flags)
    tracer.start_span("chat", context, attributes={"proxy.call.id": "1", "proxy.prompt": "p"}).end()
    (span,) = spans.ended
    assert span.context.trace_flags.sampled == sampled
    assert spans.started == [{"proxy.call.id": "1", "proxy.prompt": "p"}]
    assert dict(span.attributes or {}) == spans.started[0]
    assert span.context.trace_state == (STATE if flags is not None else TraceState())


@pytest.mark.parametrize(("sampler", "names"), [(ALWAYS_OFF, ["call"]), (ALWAYS_ON, ["call", "request"])])
def test_requests_may_be_recorded_only_if_sampled(sampler: Sampler, names: list[str]) -> None:
    """A request that is not sampled costs no span then; the call within it has one all the same, of its trace."""
    spans = _Spans()
    tracer = make_provider([spans], ParentBased(sampler), record_requests=False).get_tracer(SCOPE)
    with tracer.start_as_current_span("request", kind=SpanKind.SERVER) as request:
        tracer.start_span("call", kind=SpanKind.CLIENT, attributes={"proxy.call.id": "1"}).end()
    assert [span.name for span in spans.ended] == names
    call = spans.ended[0]
    assert call.context.trace_id == request.get_span_context().trace_id
    assert call.parent is not None
    assert call.parent.span_id == request.get_span_context().span_id
    assert dict(call.attributes or {}) == {"proxy.call.id": "1"}


def test_the_description_names_both_samplers() -> None:
    """People see which sampler decides."""
    assert RecordAll(ALWAYS_OFF).get_description() == "RecordAll{AlwaysOffSampler}"


def test_only_calls_reach_the_exporter() -> None:
    """Begin and end are told of spans of the call's scope, of no others."""
    begun: list[str] = []
    exporter = _Exporter()
    records = RecordProcessor(exporter, lambda span: begun.append(span.name), pytest.fail)
    provider = make_provider([records], ALWAYS_OFF)
    for scope in (SCOPE, "opentelemetry.instrumentation.fastapi", ""):
        span = provider.get_tracer(scope).start_span(f"of {scope}")
        assert len(exporter.exported) <= 1
        span.end()
    assert begun == exporter.exported == [f"of {SCOPE}"]


def test_a_failing_exporter_hurts_no_call(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the record's making raises, the span ends, and the loss is counted; a journal that fails costs none."""

    def begin(span: ReadableSpan) -> None:
        raise TypeError("journal")

    failures: list[bool] = []
    broken, sound = _Exporter(ValueError("record")), _Exporter()
    spans = _Spans()
    processors = [RecordProcessor(exporter, begin, lambda: failures.append(True)) for exporter in (broken, sound)]
    make_provider([*processors, spans], ALWAYS_ON).get_tracer(SCOPE).start_span("chat").end()
    assert len(spans.ended) == 1
    assert failures == [True]
    assert sound.exported == ["chat"]
    assert [record.message for record in caplog.records] == [
        "a call could not be journalled",
        "a call could not be journalled",
        "the record of a call could not be made",
    ]


def test_flush_and_shutdown_reach_the_exporter() -> None:
    """The provider's flush hands its time on and its result back; its shutdown is the exporter's."""
    exporter = _Exporter()
    records = RecordProcessor(exporter, lambda span: None, pytest.fail)
    assert records.force_flush(10)
    assert not records.force_flush(5)
    assert exporter.flushed == [10, 5]
    make_provider([records], ALWAYS_ON).shutdown()
    assert exporter.shut
