"""The provider records every span and hands every call to the record's exporter, whose failures hurt no call."""

from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, TraceState, set_span_in_context

from otel.attributes import SCOPE
from otel.processor import RecordProcessor
from otel.provider import make_provider
from tests.kit.spans import KeptSpans

STATE = TraceState([("vendor", "value")])


class _Exporter(SpanExporter):
    """Keeps the names of spans, or raises `fault`."""

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
def test_every_span_is_recorded(sampler: Sampler, flags: int | None, sampled: bool) -> None:
    """The sampler decides the sampled flag and nothing else: the attributes given at the start are on the span, and its
    trace state is the parent's."""
    spans = KeptSpans()
    tracer = make_provider([spans], sampler).get_tracer(SCOPE)
    context = None if flags is None else parent(flags)
    tracer.start_span("chat", context, attributes={"proxy.call.id": "1", "proxy.prompt": "p"}).end()
    (span,) = spans.ended
    assert span.context.trace_flags.sampled == sampled
    assert spans.at_start == [{"proxy.call.id": "1", "proxy.prompt": "p"}]
    assert dict(span.attributes or {}) == spans.at_start[0]
    assert span.context.trace_state == (STATE if flags is not None else TraceState())


@pytest.mark.parametrize(("sampler", "names"), [(ALWAYS_OFF, ["call"]), (ALWAYS_ON, ["call", "request"])])
def test_requests_may_be_recorded_only_if_sampled(sampler: Sampler, names: list[str]) -> None:
    """Then an unsampled request has no span, but the call within it still has one, in the same trace."""
    spans = KeptSpans()
    tracer = make_provider([spans], ParentBased(sampler), record_requests=False).get_tracer(SCOPE)
    with tracer.start_as_current_span("request", kind=SpanKind.SERVER) as request:
        tracer.start_span("call", kind=SpanKind.CLIENT, attributes={"proxy.call.id": "1"}).end()
    assert [span.name for span in spans.ended] == names
    call = spans.ended[0]
    assert call.context.trace_id == request.get_span_context().trace_id
    assert call.parent is not None
    assert call.parent.span_id == request.get_span_context().span_id
    assert dict(call.attributes or {}) == {"proxy.call.id": "1"}


def test_only_calls_reach_the_exporter() -> None:
    """`begin` and the exporter get the spans of the calls' scope and no others."""
    begun: list[str] = []
    exporter = _Exporter()
    records = RecordProcessor(exporter, lambda span: begun.append(span.name), pytest.fail)
    provider = make_provider([records], ALWAYS_OFF)
    for scope in (SCOPE, "opentelemetry.instrumentation.fastapi", ""):
        span = provider.get_tracer(scope).start_span(f"of {scope}")
        assert len(exporter.exported) <= 1
        span.end()
    assert begun == exporter.exported == [f"of {SCOPE}"]


def test_a_failing_exporter_or_journal_hurts_no_call(caplog: pytest.LogCaptureFixture) -> None:
    """If building the record raises, the span still ends and the loss is counted; a failing journal loses no record."""

    def begin(span: ReadableSpan) -> None:
        raise TypeError("journal")

    failures: list[bool] = []
    broken, sound = _Exporter(ValueError("record")), _Exporter()
    spans = KeptSpans()
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
    """The flush passes its timeout on and returns the exporter's result; the shutdown shuts the exporter down."""
    exporter = _Exporter()
    records = RecordProcessor(exporter, lambda span: None, pytest.fail)
    assert records.force_flush(10)
    assert not records.force_flush(5)
    assert exporter.flushed == [10, 5]
    make_provider([records], ALWAYS_ON).shutdown()
    assert exporter.shut


def test_no_limit_of_the_environment_cuts_a_span(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attributes and events beyond the SDK's own limits are all there: a record is made of them."""
    for name in ("EVENT_COUNT", "ATTRIBUTE_COUNT", "LINK_COUNT", "ATTRIBUTE_VALUE_LENGTH"):
        monkeypatch.setenv(f"OTEL_SPAN_{name}_LIMIT", "1")
    spans = KeptSpans()
    span = make_provider([spans], ALWAYS_ON).get_tracer(SCOPE).start_span("chat", attributes={"a": "xyz", "b": 1})
    for number in range(300):
        span.add_event("attempt", {"number": number, "b": 1})
    span.end()
    (ended,) = spans.ended
    assert len(ended.events) == 300
    assert dict(ended.attributes or {}) == {"a": "xyz", "b": 1}
