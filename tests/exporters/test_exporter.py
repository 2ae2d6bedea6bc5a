"""The span exporter: a SpanExporter by the SDK's own rules, whose export is a write to disk."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from exporters.eventhub import EventHubSpanExporter
from otel.attributes import SCOPE
from otel.call import Request
from otel.span import CallSpan
from tests.exporters.calls import SPANS, TRACER, a_call
from tests.exporters.owner import Owner, segments, stored
from tests.kit.hub import checked


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def owner(root: Path) -> Iterator[Owner]:
    owner = Owner(root)
    yield owner
    owner.close()


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


def ids(lines: list[bytes]) -> list[str]:
    return [json.loads(line)["id"] for line in lines]


def id_of(span: ReadableSpan) -> str:
    return str((span.attributes or {})["proxy.call.id"])


def test_it_serves_the_sdks_own_processor(owner: Owner) -> None:
    """Behind SimpleSpanProcessor, without any part of ours: a record for a call's span, on disk when the span has
    ended, and nothing for spans that are no calls."""
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


def test_success_means_on_disk(owner: Owner, root: Path) -> None:
    """SUCCESS is returned once every record of the batch is in a file, in the order of the batch."""
    spans = [a_span() for _ in range(3)]
    assert exporter_of(owner).export(spans) is SpanExportResult.SUCCESS
    (path,) = segments(root)
    assert ids(path.read_bytes().splitlines()) == [id_of(span) for span in spans]
    assert exporter_of(owner).export([]) is SpanExportResult.SUCCESS


def test_failure_means_that_a_record_was_refused(root: Path) -> None:
    """FAILURE when the spool takes one of the records not, for whatever reason; the others of the batch are kept."""
    owner = Owner(root, max_bytes=2000)
    small, large, last = a_span(), a_span(json.dumps("x" * 2000)), a_span()
    assert exporter_of(owner).export([small, large, last]) is SpanExportResult.FAILURE
    assert ids(owner.drain()) == [id_of(small), id_of(last)]
    assert owner.lost == {"spool_full": 1}
    owner.close()
    assert exporter_of(owner).export([small]) is SpanExportResult.FAILURE
    assert owner.lost == {"spool_full": 1, "after_close": 1}


def test_a_call_is_journalled_until_its_record_is_written(owner: Owner, root: Path) -> None:
    """begin puts the record of an interrupted call in a file; export empties it, also when the spool refuses."""
    exporter, cramped = exporter_of(owner), Owner(root / "other", max_bytes=10)
    for span, spool, result in (
        (a_span(), owner.spool, SpanExportResult.SUCCESS),
        (a_span(), cramped.spool, SpanExportResult.FAILURE),
    ):
        exporter.begin(span)
        (slot,) = owner.path.glob("*.call")
        record = checked(json.loads(slot.read_bytes()))
        assert (record["id"], record["status"], record["prompt"]) == (id_of(span), "interrupted", "p")
        assert EventHubSpanExporter(spool, owner.journal, lambda seconds: True).export([span]) is result
        assert slot.read_bytes() == b""
    cramped.close()


@pytest.mark.parametrize("sent", [True, False])
def test_flush_waits_for_the_hub(owner: Owner, sent: bool) -> None:
    """force_flush hands its time on in seconds, and says whether the hub has everything."""
    flushed: list[float] = []
    exporter = exporter_of(owner, flushed, sent)
    assert exporter.force_flush(1500) is sent
    assert exporter.force_flush() is sent
    assert flushed == [1.5, 30.0]


def test_shutdown_leaves_the_spool_open(owner: Owner) -> None:
    """The spool outlives the spans: a record that comes after the exporter's shutdown is kept."""
    exporter = exporter_of(owner)
    exporter.shutdown()
    assert exporter.export([a_span()]) is SpanExportResult.SUCCESS
    assert len(owner.drain()) == 1
