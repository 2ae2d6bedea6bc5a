"""Writing: how attributes and events are set on a span, with or without the SDK's validation.

The SDK validates each value, which costs more than all the rest of a span (docs/decisions/0008). `DirectWriter` skips
that and writes to private attributes of the SDK's span; `why_not_direct` checks that they exist. Values are always
strings, numbers or tuples of strings.
"""

from collections.abc import Mapping
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Span
from opentelemetry.util.types import AttributeValue


class SpanWriter:
    """Writes through the API, the public way, to a span of any provider."""

    def put(self, span: Span, facts: Mapping[str, AttributeValue]) -> None:
        """Set attributes."""
        # the API takes no bytearray, which long JSON is
        span.set_attributes(
            {name: str(value, "utf-8") if isinstance(value, bytearray) else value for name, value in facts.items()}
        )

    def note(self, span: Span, name: str, attributes: Mapping[str, AttributeValue], at_ns: int) -> None:
        """Add an event; `at_ns` is nanoseconds since the epoch."""
        span.add_event(name, attributes, at_ns)


class DirectWriter(SpanWriter):
    """Writes to where the SDK's spans store attributes and events; only for recording spans of the SDK."""

    def put(self, span: Any, facts: Mapping[str, AttributeValue]) -> None:
        """Set attributes."""
        span._attributes._dict.update(facts)

    def note(self, span: Any, name: str, attributes: Mapping[str, AttributeValue], at_ns: int) -> None:
        """Add an event."""
        span._events.append(Event(name, attributes, at_ns))


class _Ended(SpanProcessor):
    """Keeps what a span holds when it ends, types included, attributes in any order."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def on_end(self, span: ReadableSpan) -> None:
        events = [(event.name, dict(event.attributes or {}), event.timestamp) for event in span.events]
        self.found.append(repr((sorted((span.attributes or {}).items()), events)))


def why_not_direct() -> str | None:
    """Why a `DirectWriter` cannot be used, or None: writes to two spans, one each way, and compares them.

    May raise whatever the SDK's internals raise.
    """
    ended = _Ended()
    provider = TracerProvider(sampler=ALWAYS_ON, resource=Resource({}), shutdown_on_exit=False)
    provider.add_span_processor(ended)
    tracer = provider.get_tracer("check")
    for writer in (SpanWriter(), DirectWriter()):
        span = tracer.start_span("check", attributes={"started": 1})
        writer.put(span, {"text": "a", "number": 1, "share": 0.5, "whether": True, "texts": ("a", "b")})
        writer.put(span, {"number": 2})
        writer.note(span, "moment", {"text": "b"}, 3)
        span.end(4)
    provider.shutdown()
    public, direct = ended.found
    return None if public == direct else "what is written to a span directly differs from what the API writes"
