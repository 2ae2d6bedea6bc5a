"""A span processor that keeps every span."""

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.util.types import AttributeValue


class KeptSpans(SpanProcessor):
    """Keeps spans when they start, with a copy of their attributes at that time, and when they end."""

    def __init__(self) -> None:
        self.started: list[Span] = []
        self.at_start: list[dict[str, AttributeValue]] = []
        self.ended: list[ReadableSpan] = []

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.started.append(span)
        self.at_start.append(dict(span.attributes or {}))

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span)
