"""EventHubSpanExporter: writes finished call spans to disk as records; the sender sends them from there."""

from collections.abc import Callable, Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from exporters.journal import Journal
from exporters.record import Record
from exporters.spool import Spool
from otel import attributes as a


class EventHubSpanExporter(SpanExporter):
    """Export is an append to the spool: no network, and no queue in memory."""

    def __init__(self, spool: Spool, journal: Journal, flush: Callable[[float], bool]) -> None:
        """`flush` waits up to that many seconds until the spool is sent."""
        self._spool = spool
        self._journal = journal
        self._flush = flush

    def begin(self, span: ReadableSpan) -> None:
        """Journal a call that has started, until its span is exported."""
        record = Record.interrupted(span)
        if record.id is not None:
            self._journal.begin(record.id, record.to_json())

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write one record per call span; SUCCESS once all are on disk. Losses are counted by the spool."""
        result = SpanExportResult.SUCCESS
        for span in spans:
            record = Record.from_span(span)
            if record.id is None:
                continue  # the SDK's own processors hand over every span, the server's too
            if (span.attributes or {}).get(a.STATUS) == a.REFUSED:
                self._journal.end(record.id)
                continue
            if not self._spool.append(record.to_json(), self._journal.size(record.id)):
                result = SpanExportResult.FAILURE
            self._journal.end(record.id)
        return result

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Send what waits; False if that took longer than `timeout_millis`."""
        return self._flush(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Do nothing: whoever started the sender and the spool stops them, after the last span."""
