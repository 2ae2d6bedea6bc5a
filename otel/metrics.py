"""Metrics of every call, sampled or not, by the GenAI conventions; and of the proxy itself.

https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/gen-ai-metrics.md (Development).
`time_per_output_chunk` is recorded once per call, as the mean over its chunks: recording each would cost as much as
relaying it.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Histogram, Meter, Observation
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import NonRecordingSpan, StatusCode, set_span_in_context
from opentelemetry.util.types import AttributeValue

from otel import attributes as a
from otel.fetched import FetchedUsage
from otel.recording import NO_TRACE, PublicRecording, Recording

log = logging.getLogger(__name__)

TOKEN_TYPE: Final = "gen_ai.token.type"
TOKEN_BUCKETS: Final = tuple(float(4**power) for power in range(14))
SECOND_BUCKETS: Final = tuple(0.01 * 2**power for power in range(14))

OTHER: Final = "_other"
NAMES: Final = 100  # distinct values of one attribute
_NAMED: Final = (a.REQUEST_MODEL, a.RESPONSE_MODEL, a.DEPLOYMENT, a.REGION)
_CALLERS: Final = (a.CALLER + "subscription_id", a.CALLER + "product")

_GIVEN: Final = (a.OPERATION_NAME, a.PROVIDER_NAME, a.STATUS, a.HTTP_STATUS, a.BACKEND, a.USAGE_SOURCE)

type Facts = Mapping[str, AttributeValue]


@dataclass(frozen=True, slots=True)
class ProxyCounts:
    """The proxy's own numbers; `lost` is by reason, `refused` by error code."""

    open_calls: int
    backlog_records: int
    backlog_bytes: int
    oldest_seconds: float
    sent: int
    lost: Mapping[str, int]
    refused: Mapping[str, int]
    last_success: float | None
    """When the hub last accepted a record, in seconds since the epoch."""
    unjournalled: int
    in_memory_bytes: int


class CallMetrics(SpanProcessor):
    """Records metrics of each call span when it ends.

    A caller can send anything as a model or a deployment, and an attribute of a metric must have a bounded number of
    values: a name is used once upstream has accepted a call to it, up to `NAMES` of them. All others are `_other`.
    """

    def __init__(self, caller: bool = False, recording: type[PublicRecording] = Recording) -> None:
        """`caller`: add the caller's subscription and product as attributes. `recording` is how values are recorded."""
        self._recording = recording
        self._named = _NAMED + _CALLERS if caller else _NAMED
        self._given = _GIVEN + self._named
        self._known: dict[str, set[AttributeValue]] = {name: set() for name in self._named}
        self._series: dict[tuple[AttributeValue | None, ...], _Series] = {}
        """By the values on the span, if all names among them are known: a shortcut to the one below."""
        self._all_series: dict[tuple[object, ...], _Series] = {}
        """By the attributes of the metric, which are bounded in number."""
        self._fetched = FetchedUsage()
        self._histograms: _Histograms | None = None
        self._streams: set[int] = set()
        """Span ids of the streamed calls in flight."""

    def use(self, meter: Meter) -> None:
        """Record into histograms of this meter from now on."""
        self._histograms = _Histograms.of(meter)
        meter.create_observable_gauge(
            "proxy.streams.active", [self._observe], "{stream}", "Streamed calls that are open."
        )

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Count a stream that starts."""
        if _is_call(span) and (span.attributes or {}).get(a.REQUEST_STREAM):
            self._streams.add(span.context.span_id)

    def on_end(self, span: ReadableSpan) -> None:
        """Record a call. Raises nothing."""
        if not _is_call(span):
            return
        self._streams.discard(span.context.span_id)
        facts = self._fetched.counted(a.facts_of(span))
        if self._histograms is not None:
            seconds = ((span.end_time or 0) - (span.start_time or 0)) / 1e9
            try:
                series = self._of(self._histograms, facts, span.status.status_code is StatusCode.ERROR)
                series.record(facts, seconds, _context(span))
            except Exception:  # telemetry never hurts a call
                log.exception("a call could not be measured")

    def _observe(self, options: CallbackOptions) -> Iterable[Observation]:
        yield Observation(len(self._streams))

    def _of(self, histograms: "_Histograms", facts: Facts, failed: bool) -> "_Series":
        """The series that calls like this one are recorded in."""
        given = (failed, *map(facts.get, self._given))
        series = self._series.get(given)
        if series is None:
            attributes = self._attributes(facts, failed)
            source = facts.get(a.USAGE_SOURCE, OTHER)
            key = (source, *attributes.items())
            series = self._all_series.get(key)
            if series is None:
                series = self._all_series[key] = _Series(histograms, attributes, source, self._recording)
            if all(facts.get(name) == attributes.get(name) for name in self._named):
                self._series[given] = series
        return series

    def _attributes(self, facts: Facts, failed: bool) -> dict[str, AttributeValue]:
        status = facts.get(a.HTTP_STATUS)
        accepted = isinstance(status, int) and status < 400
        attributes: dict[str, AttributeValue] = {
            a.OPERATION_NAME: facts.get(a.OPERATION_NAME, OTHER),
            a.PROVIDER_NAME: facts.get(a.PROVIDER_NAME, a.PROVIDER),
            a.STATUS: facts.get(a.STATUS, OTHER),
        }
        if (backend := facts.get(a.BACKEND)) is not None:
            attributes[a.BACKEND] = backend
        for name in self._named:
            value = facts.get(name)
            if value is not None:
                attributes[name] = self._known_name(name, value, accepted)
        if failed:
            attributes[a.ERROR_TYPE] = str(status) if status is not None and not accepted else attributes[a.STATUS]
        return attributes

    def _known_name(self, name: str, value: AttributeValue, learn: bool) -> AttributeValue:
        known = self._known[name]
        if value in known:
            return value
        if learn and len(known) < NAMES and isinstance(value, str) and len(value) <= 128:
            known.add(value)
            return value
        return OTHER


@dataclass(frozen=True, slots=True)
class _Histograms:
    tokens: Histogram
    duration: Histogram
    first_chunk: Histogram
    per_chunk: Histogram

    @classmethod
    def of(cls, meter: Meter) -> "_Histograms":
        def seconds(name: str, description: str) -> Histogram:
            return meter.create_histogram(
                f"gen_ai.client.operation.{name}", "s", description, explicit_bucket_boundaries_advisory=SECOND_BUCKETS
            )

        return cls(
            meter.create_histogram(
                "gen_ai.client.token.usage",
                "{token}",
                "Number of input and output tokens used.",
                explicit_bucket_boundaries_advisory=TOKEN_BUCKETS,
            ),
            seconds("duration", "GenAI operation duration."),
            seconds("time_to_first_chunk", "Time to receive the first chunk."),
            seconds("time_per_output_chunk", "Time per output chunk after the first one, the mean of a call."),
        )


class _Series:
    """The recordings of calls that have the same attributes."""

    def __init__(
        self,
        to: _Histograms,
        attributes: dict[str, AttributeValue],
        usage_source: AttributeValue,
        recording: type[PublicRecording],
    ) -> None:
        def tokens(kind: str) -> PublicRecording:
            # estimated tokens must not pass for billed ones
            return recording(to.tokens, {**attributes, TOKEN_TYPE: kind, a.USAGE_SOURCE: usage_source})

        self._duration = recording(to.duration, attributes)
        self._first_chunk = recording(to.first_chunk, attributes)
        self._per_chunk = recording(to.per_chunk, attributes)
        self._tokens = ((a.INPUT_TOKENS, tokens("input")), (a.OUTPUT_TOKENS, tokens("output")))

    def record(self, facts: Facts, seconds: float, context: Context) -> None:
        """Record a call that took `seconds`."""
        self._duration.record(seconds, context)
        first, chunks = facts.get(a.RESPONSE_TIME_TO_FIRST_CHUNK), facts.get(a.CHUNKS)
        if isinstance(first, float):
            self._first_chunk.record(first, context)
            if isinstance(chunks, int) and chunks > 1:
                self._per_chunk.record(max(0.0, seconds - first) / (chunks - 1), context)
        for name, recording in self._tokens:
            count = facts.get(name)
            if isinstance(count, int):
                recording.record(count, context)


def observe_proxy(
    meter: Meter,
    look: Callable[[], ProxyCounts],
    spans_lost: Callable[[], Mapping[str, int]],
) -> None:
    """Register instruments that read the proxy's own numbers whenever metrics are exported."""

    def gauge(name: str, unit: str, description: str, value: Callable[[], float | None]) -> None:
        def read(options: CallbackOptions) -> Iterable[Observation]:
            if (found := value()) is not None:
                yield Observation(found)

        meter.create_observable_gauge(name, [read], unit, description)

    def counter(name: str, unit: str, description: str, by: str, counts: Callable[[], Mapping[str, int]]) -> None:
        def read(options: CallbackOptions) -> Iterable[Observation]:
            for key, count in counts().items():
                yield Observation(count, {by: key} if by else None)

        meter.create_observable_counter(name, [read], unit, description)

    gauge("proxy.calls.active", "{call}", "Calls that are open.", lambda: look().open_calls)
    gauge("proxy.spool.records", "{record}", "Records that wait for the hub.", lambda: look().backlog_records)
    gauge("proxy.spool.bytes", "By", "What these take on disk.", lambda: look().backlog_bytes)
    gauge("proxy.spool.memory", "By", "What is in memory alone: the disk fails.", lambda: look().in_memory_bytes)
    gauge("proxy.spool.age", "s", "Age of the oldest of them.", lambda: look().oldest_seconds)
    counter("proxy.records.sent", "{record}", "Records the hub has taken.", "", lambda: {"": look().sent})
    gauge("proxy.records.last_sent", "s", "When that was last, since the epoch.", lambda: look().last_success)
    counter("proxy.records.lost", "{record}", "Records lost.", "reason", lambda: dict(look().lost))
    counter(
        "proxy.calls.unjournalled",
        "{call}",
        "Calls that the journal could not keep.",
        "",
        lambda: {"": look().unjournalled},
    )
    counter("proxy.refusals", "{request}", "Requests refused at the door.", "code", lambda: dict(look().refused))
    counter("proxy.spans.lost", "{span}", "Sampled spans that were not sent.", "reason", spans_lost)


def _is_call(span: ReadableSpan) -> bool:
    scope = span.instrumentation_scope
    return scope is not None and scope.name == a.SCOPE


def _context(span: ReadableSpan) -> Context:
    """The span's own context if it is sampled: its values may become exemplars, which OTLP sends with the trace id."""
    own = span.get_span_context()
    if own is None or not own.trace_flags.sampled:
        return NO_TRACE
    return set_span_in_context(NonRecordingSpan(own), Context())
