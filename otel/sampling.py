"""Sampling: which traces go to Application Insights and OTLP, and how many traces each of them stands for.

Three rules, in this order:
  1. A child of another span of this process follows its parent, so a trace is kept or dropped whole.
  2. A caller's traceparent decides, both ways. How many the caller dropped is not known here: no rate is stated.
  3. A trace that starts here is kept by chance, never for its content. The rate is on its spans, and Application
     Insights counts each envelope 100/rate times.
"""

import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState, get_current_span
from opentelemetry.util.types import Attributes

from otel.attributes import SAMPLE_RATE

PER_SECOND: Final = 5
_RANDOM: Final = 2**56  # W3C Trace Context Level 2: the rightmost 7 bytes of a trace id are random
_DROPPED: Final = SamplingResult(Decision.DROP)


class Share(Protocol):
    """Decides on traces that start here."""

    def of(self, trace_id: int) -> float:
        """The rate in per cent at which the trace is kept, 0 if it is dropped."""


class FixedShare:
    """A fixed share of all traces; Application Insights counts exactly if it is 1/n."""

    def __init__(self, ratio: float) -> None:
        self._bound = round(ratio * _RANDOM)
        self._rate = 100.0 * ratio

    def of(self, trace_id: int) -> float:
        return self._rate if trace_id % _RANDOM < self._bound else 0.0


class LimitedShare:
    """All traces up to `limit` per second of the clock, and no more.

    Above the limit every n-th trace is kept, counted from a random one in each second, and stands for n; n comes from
    the number of calls in the previous second or in this one so far, whichever is larger. So under a steady load each
    call has the same chance, whatever it is and whenever in a second it comes, and the counts that Application Insights
    computes are right on average. n is a whole number, as its ingestion requires. After a sudden rise in load, traces
    past the limit in the first second are dropped, and the next trace also stands for what they would have stood for.
    """

    def __init__(
        self,
        limit: int = PER_SECOND,
        clock: Callable[[], float] = time.monotonic,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._limit = limit
        self._clock = clock
        self._dice = dice
        self._guard = threading.Lock()
        self._second = 0
        self._before = self._seen = self._kept = self._surplus = 0
        self._due = 0.0
        """The trace that raises this to 1 is kept."""

    def of(self, trace_id: int) -> float:
        with self._guard:
            self._begin_second(int(self._clock()))
            self._seen += 1
            stands_for = self._one_in(max(self._before, self._seen) / self._limit)
            self._due += 1 / stands_for
            if self._due < 1:
                return 0.0
            self._due -= 1
            if self._kept >= self._limit:
                self._surplus += stands_for
                return 0.0
            self._kept += 1
            stands_for += self._surplus
            self._surplus = 0
            return 100.0 / stands_for

    def _begin_second(self, second: int) -> None:
        if second != self._second:
            self._before = self._seen if second == self._second + 1 else 0
            self._second, self._seen, self._kept = second, 0, 0
            self._due = self._dice()

    def _one_in(self, n: float) -> int:
        """One of the two integers next to `n`, chosen so that the mean chance is 1 in `n`; at least 1."""
        low = int(n)
        return max(1, low if self._dice() * n < low * (low + 1 - n) else low + 1)


class TraceSampler(Sampler):
    """The three rules."""

    def __init__(self, share: Share) -> None:
        self._share = share

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Keep the span, with its attributes and the rate if one is known, or drop it."""
        parent = get_current_span(parent_context)
        context = parent.get_span_context()
        if context.is_valid:
            kept, trace_state = context.trace_flags.sampled, context.trace_state
            rate = (parent.attributes or {}).get(SAMPLE_RATE) if isinstance(parent, ReadableSpan) else None
        else:
            rate = self._share.of(trace_id)
            kept = rate > 0
        if not kept:
            return SamplingResult(Decision.DROP, trace_state=trace_state) if trace_state else _DROPPED
        own = attributes if rate is None else {**(attributes or {}), SAMPLE_RATE: rate}
        return SamplingResult(Decision.RECORD_AND_SAMPLE, own, trace_state)

    def get_description(self) -> str:
        """A readable name."""
        return f"TraceSampler{{{type(self._share).__name__}}}"


def make_sampler(trace_ratio: float | None) -> Sampler:
    """Keeps the share `trace_ratio` of the traces that start here; if None, at most five per second."""
    return TraceSampler(LimitedShare() if trace_ratio is None else FixedShare(trace_ratio))
