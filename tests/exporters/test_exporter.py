"""The span exporter: a SpanExporter that follows the SDK's rules and writes to disk."""

import json
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from exporters.eventhub import EventHubSpanExporter
from otel.attributes import SCOPE
from otel.call import Request, Status
from otel.span import CallSpan
from tests.exporters.calls import SPANS, TRACER, a_call
from tests.exporters.owner import Owner, ids, stored
from tests.kit.hub import checked


def exporter_of(owner: Owner, flushed: list[float] | None = None, sent: bool = True) -> EventHubSpanExporter:
    def flush(seconds: float) -> bool:
        if flushed is not None:
            flushed.append(seconds)
        return sent

    return EventHubSpanExporter(owner.spool, owner.journal, flush)


def a_span(prompt: str = '"p"') -> ReadableSpan:
    """The span of a call that has ended."""
    CallSpan(TRACER, a_call(request=Request(prompt=prompt))).finish()
    return SPANS.ended[-1]


def id_of(span: ReadableSpan) -> str:
    return str((span.attributes or {})["proxy.call.id"])


def test_it_works_with_the_sdks_own_processor(owner: Owner) -> None:
    """Behind SimpleSpanProcessor, without our processor, a call's span has its record on disk when it ends, and other
    spans have none."""
    exporter = exporter_of(owner)
    assert isinstance(exporter, SpanExporter)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("server").start_as_current_span("POST /openai/…") as server:
        call = a_call()
        CallSpan(provider.get_tracer(SCOPE), call).finish()
        ((line, count),) = stored(owner.directory.root).items()
    provider.shutdown()
    record = checked(json.loads(line))
    assert (record["id"], count) == (call.id, 1)
    assert record["trace_id"] == f"{server.get_span_context().trace_id:032x}"
    assert sum(stored(owner.directory.root).values()) == 1
    assert owner.lost == {}


def test_a_refused_record_returns_failure(root: Path) -> None:
    """If the spool refuses a record, for whatever reason, the others of the batch are kept, in order."""
    owner = Owner(root, max_bytes=2000)
    small, large, last = a_span(), a_span(json.dumps("x" * 2000)), a_span()
    assert exporter_of(owner).export([small, large, last]) is SpanExportResult.FAILURE
    assert ids(owner.drain()) == [id_of(small), id_of(last)]
    assert owner.lost == {"spool_full": 1}
    owner.close()
    assert exporter_of(owner).export([small]) is SpanExportResult.FAILURE
    assert owner.lost == {"spool_full": 1, "after_close": 1}


def test_a_call_is_journalled_until_its_record_is_written(owner: Owner, root: Path) -> None:
    """`begin` writes the call's interrupted record to a file; `export` empties it, even if the spool refuses the
    record."""
    exporter = exporter_of(owner)
    for elsewhere, result in ((0, SpanExportResult.SUCCESS), (1 << 30, SpanExportResult.FAILURE)):
        span = a_span()
        exporter.begin(span)
        (slot,) = owner.path.glob("*.call")
        record = checked(json.loads(slot.read_bytes()))
        assert (record["id"], record["status"], record["prompt"]) == (id_of(span), "interrupted", "p")
        owner.spool.room.elsewhere = elsewhere
        assert exporter.export([span]) is result
        assert slot.read_bytes() == b""


def test_calls_in_flight_count_towards_the_limit(root: Path) -> None:
    """The journal's files are part of PROXY_SPOOL_MAX_BYTES: past it a call goes on without one, which is counted; a
    record may take the place of its own call's file."""
    owner = Owner(root, max_bytes=5000)
    exporter, large = exporter_of(owner), [a_span(json.dumps("x" * 3000)) for _ in range(2)]
    for span in large:
        exporter.begin(span)
    assert owner.journal.failures == 1
    assert 3000 < sum(path.stat().st_size for path in owner.path.iterdir()) < 5000
    assert exporter.export([large[0]]) is SpanExportResult.SUCCESS
    assert exporter.export([large[1]]) is SpanExportResult.FAILURE
    assert owner.lost == {"spool_full": 1}
    assert owner.spool.room.in_flight == 0
    owner.close()


def test_a_refused_call_has_no_record(owner: Owner) -> None:
    """The proxy refused its body midway: its journal is empty, and nothing is spooled."""
    call = a_call(status=Status.REFUSED, error_code="request_too_large")
    span = CallSpan(TRACER, call)
    span.finish()
    exporter = exporter_of(owner)
    exporter.begin(SPANS.ended[-1])
    assert exporter.export([SPANS.ended[-1]]) is SpanExportResult.SUCCESS
    (slot,) = owner.path.glob("*.call")
    assert (slot.read_bytes(), owner.drain()) == (b"", [])


@pytest.mark.parametrize("sent", [True, False])
def test_flush_waits_for_the_hub(owner: Owner, sent: bool) -> None:
    """`force_flush` passes its timeout on in seconds, and returns whether the hub has everything."""
    flushed: list[float] = []
    exporter = exporter_of(owner, flushed, sent)
    assert exporter.force_flush(1500) is sent
    assert exporter.force_flush() is sent
    assert flushed == [1.5, 30.0]


def test_shutdown_leaves_the_spool_open(owner: Owner) -> None:
    """A record that comes after the exporter's shutdown is kept."""
    exporter = exporter_of(owner)
    exporter.shutdown()
    assert exporter.export([a_span()]) is SpanExportResult.SUCCESS
    assert len(owner.drain()) == 1
