"""EventHubSpanExporter: finished call spans become records on disk, from where the sender takes them to the hub."""

from collections.abc import Callable, Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from exporters.record import Record
from exporters.spool import Spool


class EventHubSpanExporter(SpanExporter):
    """Export is an append to the spool: no network, no queue in memory, some 20 µs."""

    def __init__(self, spool: Spool, flush: Callable[[float], bool]) -> None:
        """`flush` waits that many seconds for the spool to be sent."""
        self._spool = spool
        self._flush = flush

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write one record a span; SUCCESS once all are on disk. A loss is counted where it happens."""
        kept = [self._spool.append(Record.from_span(span).to_json()) for span in spans]
        return SpanExportResult.SUCCESS if all(kept) else SpanExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Send what waits; False if the hub took longer than that."""
        return self._flush(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Nothing: the sender and the spool outlive the spans, and are stopped by those who started them."""
