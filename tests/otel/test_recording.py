"""`otel.recording` records what the SDK would record."""

from dataclasses import asdict
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.metrics import NoOpHistogram
from opentelemetry.sdk.metrics import (
    AlwaysOffExemplarFilter,
    AlwaysOnExemplarFilter,
    Histogram,
    MeterProvider,
    TraceBasedExemplarFilter,
)
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import DropAggregation, ExponentialBucketHistogramAggregation, View
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from otel.recording import NO_TRACE, Recording

ATTRIBUTES: list[dict[str, Any]] = [
    {},
    {"model": "gpt-4o", "status": "completed"},
    {"status": "completed", "model": "gpt-4o"},
    {"model": "gpt-4o"},
    {"model": "gpt-4o", "number": 1},
    {"model": "gpt-4o", "number": True},
    {"model": "gpt-4o", "number": 1.0},
    {"model": "gpt-4o", "parts": ("a", "b")},
]
VIEWS = {
    "drop": View(instrument_name="h", aggregation=DropAggregation()),
    "exponential": View(instrument_name="h", name="e", aggregation=ExponentialBucketHistogramAggregation()),
    "by model": View(instrument_name="h", name="m", attribute_keys={"model"}),
    "whole": View(instrument_name="h", name="w", description="of all"),
}
DELTA: dict[type, AggregationTemporality] = {Histogram: AggregationTemporality.DELTA}
SAMPLED = set_span_in_context(NonRecordingSpan(SpanContext(1, 1, False, TraceFlags(TraceFlags.SAMPLED))), Context())
VALUES = st.sampled_from([0, 1, 2.5, 1000, 10**9, -1, float("inf"), float("nan")])


class Kept:
    """A histogram, and what its readers have found."""

    def __init__(self, views: list[str], readers: int, exemplars: Any) -> None:
        self.readers = [InMemoryMetricReader(preferred_temporality=DELTA if n % 2 else {}) for n in range(readers)]
        self.provider = MeterProvider(
            self.readers, views=[VIEWS[v] for v in views], exemplar_filter=exemplars, shutdown_on_exit=False
        )
        meter = self.provider.get_meter("test")
        self.histogram = meter.create_histogram("h", explicit_bucket_boundaries_advisory=[1.0, 10.0, 1000.0])
        self.found: list[Any] = []

    def read(self) -> None:
        for reader in self.readers:
            data: Any = reader.get_metrics_data()
            scopes = [s for r in data.resource_metrics for s in r.scope_metrics] if data else []
            self.found.append([_untimed(asdict(metric)) for scope in scopes for metric in scope.metrics])

    def add_reader(self) -> None:
        self.readers.append(InMemoryMetricReader())
        self.provider.add_metric_reader(self.readers[-1])


def _untimed(value: Any) -> Any:
    """Without the times of measuring, and comparable even if a number is NaN."""
    if isinstance(value, dict):
        return {name: _untimed(entry) for name, entry in value.items() if not name.endswith("time_unix_nano")}
    if isinstance(value, list | tuple):
        return [_untimed(entry) for entry in value]
    return value if isinstance(value, str) else repr(value)


@given(
    chosen=st.lists(st.sampled_from(ATTRIBUTES), min_size=2, max_size=2),
    steps=st.lists(
        st.tuples(st.integers(0, 1), VALUES, st.sampled_from([NO_TRACE, NO_TRACE, SAMPLED]))
        | st.sampled_from(["read", "add reader"]),
        max_size=20,
    ),
    views=st.lists(st.sampled_from(sorted(VIEWS)), unique=True, max_size=2),
    readers=st.integers(0, 2),
    exemplars=st.sampled_from([AlwaysOffExemplarFilter, AlwaysOnExemplarFilter, TraceBasedExemplarFilter]),
)
@settings(max_examples=400)
def test_a_recording_equals_the_sdks(
    chosen: list[Any], steps: list[Any], views: list[str], readers: int, exemplars: Any
) -> None:
    """For any values and attributes, in any order, and for all readers and views, also those added later."""
    ours, theirs = (Kept(views, readers, exemplars()) for _ in range(2))
    recordings = [Recording(ours.histogram, attributes) for attributes in chosen]
    for step in steps:
        match step:
            case "read":
                ours.read()
                theirs.read()
            case "add reader":
                ours.add_reader()
                theirs.add_reader()
            case number, value, context:
                recordings[number].record(value, context)
                theirs.histogram.record(value, chosen[number], context)
    ours.read()
    theirs.read()
    assert ours.found == theirs.found


def test_another_implementations_histogram_gets_every_value() -> None:
    """Through its own `record`."""
    recorded: list[tuple[Any, ...]] = []

    class Other(NoOpHistogram):
        def record(self, *value: Any) -> None:
            recorded.append(value)

    recording = Recording(Other("other"), ATTRIBUTES[1])
    recording.record(1)
    recording.record(2, SAMPLED)
    assert recorded == [(1, ATTRIBUTES[1], NO_TRACE), (2, ATTRIBUTES[1], SAMPLED)]
