"""Recording: a histogram bound to one set of attributes, which the SDK then processes only once.

For each value the SDK cleans and sorts the attributes and builds a key of them, to find the aggregation. That is ten
times the work of the aggregation itself (docs/decisions/0012).
"""

import math
import time
from typing import Any, Final, NamedTuple

from opentelemetry.context import Context
from opentelemetry.metrics import Histogram
from opentelemetry.trace import INVALID_SPAN, set_span_in_context
from opentelemetry.util.types import Attributes

NO_TRACE: Final = set_span_in_context(INVALID_SPAN, Context())
"""The context of an unsampled call; an empty one would mean the current context."""


class PublicRecording:
    """One histogram and one set of attributes; each value is recorded through the API."""

    def __init__(self, histogram: Histogram, attributes: Attributes) -> None:
        self._histogram: Any = histogram
        self._attributes = attributes

    def record(self, value: float, context: Context = NO_TRACE) -> None:
        """Record a value; `context` is that of a sampled span, of which it may become an exemplar."""
        self._histogram.record(value, self._attributes, context)


class _Measured(NamedTuple):
    """What an aggregation reads of a measurement."""

    value: float
    time_unix_nano: int
    attributes: Attributes
    context: Context


class Recording(PublicRecording):
    """The same, without the SDK's processing of the attributes, whose values are strings, numbers or tuples of them.

    The SDK records the first value; the aggregations it used take the following ones directly. Everything unusual is
    left to the SDK: impossible values, views that drop attributes.
    """

    def __init__(self, histogram: Histogram, attributes: Attributes) -> None:
        super().__init__(histogram, attributes)
        self._filter: Any = None
        self._of_no_trace = False
        self._readers: object = None
        self._aggregations: list[Any] = []

    def record(self, value: float, context: Context = NO_TRACE) -> None:
        """Record a value; `context` is that of a sampled span, of which it may become an exemplar."""
        known = self._aggregations and self._readers is self._histogram._measurement_consumer._reader_storages
        if known and 0 <= value < math.inf:
            measured = _Measured(value, time.time_ns(), self._attributes, context)
            exemplary = self._filter.should_sample(*measured) if context is not NO_TRACE else self._of_no_trace
            for aggregation in self._aggregations:
                aggregation.aggregate(measured, exemplary)
        else:
            self._histogram.record(value, self._attributes, context)
            if not known:
                self._find()

    def _find(self) -> None:
        """Find the aggregations that the SDK has used, one for each metric reader and each of its views."""
        self._aggregations = []
        consumer = getattr(self._histogram, "_measurement_consumer", None)
        if (
            consumer is None
        ):  # not the SDK's histogram; importing the SDK's metrics is left to the destinations that send them
            return
        from opentelemetry.sdk.metrics._internal._view_instrument_match import _hash_attributes

        self._filter, self._readers = consumer._sdk_config.exemplar_filter, consumer._reader_storages
        self._of_no_trace = self._filter.should_sample(0, 0, self._attributes, NO_TRACE)  # no filter looks at the value
        key = _hash_attributes(self._attributes)
        matches = [
            match
            for storage in consumer._reader_storages.values()
            for match in storage._get_or_init_view_instrument_match(self._histogram)
        ]
        if all(key in match._attributes_aggregation for match in matches):
            self._aggregations = [match._attributes_aggregation[key] for match in matches]


def why_not_recording() -> str | None:
    """Why a `Recording` cannot be used, or None: records values both ways and compares what a reader finds.

    May raise whatever the SDK's internals raise.
    """
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.resources import Resource

    found = []
    for kind in (PublicRecording, Recording):
        reader = InMemoryMetricReader()
        provider = MeterProvider([reader], Resource({}), shutdown_on_exit=False)
        histogram = provider.get_meter("check").create_histogram("check", explicit_bucket_boundaries_advisory=[1.0])
        recording = kind(histogram, {"text": "a", "number": 1})
        for value in (0.5, 2, 0.25):
            recording.record(value)
        if isinstance(recording, Recording) and not recording._aggregations:
            return "the SDK's aggregations have moved"
        data: Any = reader.get_metrics_data()
        (point,) = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
        found.append((point.count, point.sum, point.min, point.max, tuple(point.bucket_counts), dict(point.attributes)))
        provider.shutdown()
    public, direct = found
    return None if public == direct else "what is recorded directly differs from what a reader finds"
