"""RecordProcessor: hands every call span, sampled or not, to the record's exporter at its start and its end."""

import logging
from collections.abc import Callable

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter

from otel.attributes import SCOPE

log = logging.getLogger(__name__)


class RecordProcessor(SpanProcessor):
    """Calls the exporter in the thread that starts and ends the span.

    The SDK's own processors pass on only sampled spans, and the batching one keeps them in memory; a record must exist
    for every call and be on disk before the call ends. Telemetry never hurts a call: nothing is raised here, and
    `on_failure` counts a record that could not be built.
    """

    def __init__(
        self, exporter: SpanExporter, begin: Callable[[ReadableSpan], None], on_failure: Callable[[], None]
    ) -> None:
        """`begin` gets each call span that starts, with the attributes known by then."""
        self._exporter = exporter
        self._begin = begin
        self._on_failure = on_failure

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Journal a call that starts."""
        if _is_call(span):
            try:
                self._begin(span)
            except Exception:
                log.exception("a call could not be journalled")

    def on_end(self, span: ReadableSpan) -> None:
        """Export the span if it is a call's."""
        if _is_call(span):
            try:
                self._exporter.export((span,))
            except Exception:  # the one guarded boundary between telemetry and the call
                log.exception("the record of a call could not be made")
                self._on_failure()

    def shutdown(self) -> None:
        """Shut the exporter down."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Flush the exporter; False if that took longer than `timeout_millis`."""
        return self._exporter.force_flush(timeout_millis)


def _is_call(span: ReadableSpan) -> bool:
    scope = span.instrumentation_scope
    return scope is not None and scope.name == SCOPE
