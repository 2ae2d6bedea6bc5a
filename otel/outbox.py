"""Outbox: scrubs sampled spans and queues a bounded number of them for the exporters.

     span ends ── sampled? ── scrub ──┬── queue ── batches ── Application Insights
                                      └── queue ── batches ── OTLP collector

It holds at most `QUEUE` spans per destination, each of a bounded size once scrubbed; more are dropped and counted.
Batches are small because building them competes with the calls for the interpreter.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

log = logging.getLogger(__name__)

QUEUE: Final = 2048
BATCH: Final = 64

type OnLoss = Callable[[str, int], None]


class Outbox(SpanProcessor):
    """Scrubs each sampled span once and queues the copy for every destination."""

    def __init__(self, scrub: Callable[[ReadableSpan], ReadableSpan], on_loss: OnLoss) -> None:
        """`on_loss` gets the reason and the number of spans lost."""
        self._scrub = scrub
        self._on_loss = on_loss
        self._queues: list[Queue] = []

    def add(self, exporter: SpanExporter, batch: int = BATCH) -> None:
        """Add a destination; call it before the first span."""
        self._queues.append(Queue(exporter, batch, self._on_loss))

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Do nothing: a span is sent when it has ended."""

    def on_end(self, span: ReadableSpan) -> None:
        """Queue the span if it is sampled. Raises nothing."""
        context = span.get_span_context()
        if not self._queues or context is None or not context.trace_flags.sampled:
            return
        try:
            scrubbed = self._scrub(span)
        except Exception:  # a span that cannot be scrubbed does not leave; its call goes on
            log.exception("a span could not be scrubbed")
            self._on_loss("not_scrubbed", len(self._queues))
            return
        for queue in self._queues:
            queue.put(scrubbed)

    @property
    def waiting(self) -> int:
        """How many spans have not been handed to an exporter yet."""
        return sum(queue.waiting for queue in self._queues)

    def begin_stop(self) -> None:
        """Start to flush; further spans are dropped."""
        for queue in self._queues:
            queue.begin_stop()

    def end_stop(self, seconds: float) -> None:
        """Wait up to `seconds` for the flush, and count what could not be sent."""
        until = time.monotonic() + seconds
        for queue in self._queues:
            queue.end_stop(until)


class Queue:
    """One destination. The SDK's processor drops spans silently and its shutdown cannot be bounded in time."""

    def __init__(self, exporter: SpanExporter, batch: int, on_loss: OnLoss) -> None:
        self._on_loss = on_loss
        self._put = self._taken = 0  # each is incremented by one thread only
        counting = _CountingExporter(exporter, self._take)
        self._processor = BatchSpanProcessor(
            counting, max_queue_size=QUEUE, max_export_batch_size=batch, meter_provider=NoOpMeterProvider()
        )
        self._stopping: threading.Thread | None = None

    @property
    def waiting(self) -> int:
        return self._put - self._taken

    def put(self, span: ReadableSpan) -> None:
        """Queue a sampled span."""
        if self._stopping is not None:
            self._on_loss("shut_down", 1)
        elif self.waiting >= QUEUE:
            self._on_loss("queue_full", 1)
        else:
            self._put += 1
            self._processor.on_end(span)

    def begin_stop(self) -> None:
        self._stopping = threading.Thread(target=self._processor.shutdown, name="span-flush", daemon=True)
        self._stopping.start()

    def end_stop(self, until: float) -> None:
        if self._stopping is None:
            return
        self._stopping.join(max(0.0, until - time.monotonic()))
        if self.waiting:
            self._on_loss("shut_down", self.waiting)

    def _take(self, spans: int) -> None:
        self._taken += spans


class _CountingExporter(SpanExporter):
    """Counts the spans handed to the exporter, which from then on answers for them."""

    def __init__(self, inner: SpanExporter, taken: Callable[[int], None]) -> None:
        self._inner = inner
        self._taken = taken

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._taken(len(spans))
        return self._inner.export(spans)

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._inner.force_flush(timeout_millis)
