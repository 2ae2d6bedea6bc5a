"""EventHubSpanExporter: finished call spans become records on disk, from where the sender takes them to the hub."""

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
        """`flush` waits that many seconds for the spool to be sent."""
        self._spool = spool
        self._journal = journal
        self._flush = flush

    def begin(self, span: ReadableSpan) -> None:
        """Keep on disk what is known of a call that has begun, until its span is exported."""
        record = Record.interrupted(span)
        if record.id is not None:
            self._journal.begin(record.id, record.to_json())

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write one record a call's span; SUCCESS once all are on disk. A loss is counted where it happens."""
        result = SpanExportResult.SUCCESS
        for span in spans:
            record = Record.from_span(span)
            if record.id is None:
                continue  # the SDK's own processors hand over every span, such as those of the server
            if (span.attributes or {}).get(a.STATUS) == a.REFUSED:
                self._journal.end(record.id)
                continue
            if not self._spool.append(record.to_json()):
                result = SpanExportResult.FAILURE
            self._journal.end(record.id)
        return result

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Send what waits; False if the hub took longer than that."""
        return self._flush(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Nothing: the sender and the spool outlive the spans, and are stopped by those who started them."""
