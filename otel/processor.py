"""RecordProcessor: hands every finished call span to the record's exporter, sampled or not."""

import logging
from collections.abc import Callable

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel.attributes import SCOPE

log = logging.getLogger(__name__)


class RecordProcessor(SpanProcessor):
    """Calls `exporter.export` in `on_end`, in the thread that ended the span.

    The SDK's own processors pass only sampled spans on, and the batching one keeps them in memory; a record must
    exist for every call and be on disk before the call ends. `on_failure` counts what the exporter could not take:
    telemetry never hurts a call, so nothing is raised here.
    """

    def __init__(self, exporter: SpanExporter, on_failure: Callable[[], None] = lambda: None) -> None:
        self._exporter = exporter
        self._on_failure = on_failure

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing: the facts are set when the call ends."""

    def on_end(self, span: ReadableSpan) -> None:
        """Export a call's span; any other span is not a call."""
        scope = span.instrumentation_scope
        if scope is None or scope.name != SCOPE:
            return
        try:
            result = self._exporter.export((span,))
        except Exception:  # the one guarded boundary between telemetry and the call
            log.exception("the record of a call could not be made")
            self._on_failure()
        else:
            if result is not SpanExportResult.SUCCESS:
                self._on_failure()

    def shutdown(self) -> None:
        """Shut the exporter down."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Have the exporter send what it holds; False if that took longer than the time given."""
        return self._exporter.force_flush(timeout_millis)
