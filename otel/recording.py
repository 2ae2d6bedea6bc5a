"""Recording: a histogram's values for attributes that come again and again, which the SDK looks at only once.

For each value the SDK cleans the attributes, sorts them and makes a key of them, to find what it counts the value into.
That is ten times the work of counting it (docs/decisions/0012).
"""

import math
import time
from typing import Any, Final, NamedTuple

from opentelemetry.context import Context
from opentelemetry.metrics import Histogram
from opentelemetry.trace import INVALID_SPAN, set_span_in_context
from opentelemetry.util.types import Attributes

NO_TRACE: Final = set_span_in_context(INVALID_SPAN, Context())
"""The context of what was not sampled; an empty one would mean the current one."""


class PublicRecording:
    """One histogram for one set of attributes, each value recorded by the API."""

    def __init__(self, histogram: Histogram, attributes: Attributes) -> None:
        self._histogram: Any = histogram
        self._attributes = attributes

    def record(self, value: float, context: Context = NO_TRACE) -> None:
        """Record a value; `context` is that of a sampled span, of which it may become an exemplar."""
        self._histogram.record(value, self._attributes, context)


class _Measured(NamedTuple):
    """What counting reads of a measurement."""

    value: float
    time_unix_nano: int
    attributes: Attributes
    context: Context


class Recording(PublicRecording):
    """The same, past the SDK's look at the attributes, whose values are texts, numbers or tuples of them.

    The SDK records the first value in its own way; what it counted that into takes those that follow. Whatever is out
    of the ordinary stays with the SDK: impossible values, views that drop attributes.
    """

    def __init__(self, histogram: Histogram, attributes: Attributes) -> None:
        super().__init__(histogram, attributes)
        self._filter: Any = None
        self._of_no_trace = False
        self._readers: object = None
        self._counted: list[Any] = []

    def record(self, value: float, context: Context = NO_TRACE) -> None:
        """Record a value; `context` is that of a sampled span, of which it may become an exemplar."""
        known = self._counted and self._readers is self._histogram._measurement_consumer._reader_storages
        if known and 0 <= value < math.inf:
            measured = _Measured(value, time.time_ns(), self._attributes, context)
            exemplary = self._filter.should_sample(*measured) if context is not NO_TRACE else self._of_no_trace
            for counted in self._counted:
                counted.aggregate(measured, exemplary)
        else:
            self._histogram.record(value, self._attributes, context)
            if not known:
                self._find()

    def _find(self) -> None:
        """Find what the SDK has counted a value into, one for each reader of metrics and each of its views."""
        self._counted = []
        consumer = getattr(self._histogram, "_measurement_consumer", None)
        if consumer is None:  # not the SDK's, whose metrics are imported by none but those who send them
            return
        from opentelemetry.sdk.metrics._internal._view_instrument_match import _hash_attributes

        self._filter, self._readers = consumer._sdk_config.exemplar_filter, consumer._reader_storages
        self._of_no_trace = self._filter.should_sample(0, 0, self._attributes, NO_TRACE)  # none goes by the value
        key = _hash_attributes(self._attributes)
        matches = [
            match
            for storage in consumer._reader_storages.values()
            for match in storage._get_or_init_view_instrument_match(self._histogram)
        ]
        if all(key in match._attributes_aggregation for match in matches):
            self._counted = [match._attributes_aggregation[key] for match in matches]


def why_not_recording() -> str | None:
    """Why a `Recording` cannot be used, or None: values are recorded both ways, and what a reader finds is compared.

    May raise whatever the SDK's insides do.
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
        if isinstance(recording, Recording) and not recording._counted:
            return "what the SDK counts values into is not where it was"
        data: Any = reader.get_metrics_data()
        (point,) = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
        found.append((point.count, point.sum, point.min, point.max, tuple(point.bucket_counts), dict(point.attributes)))
        provider.shutdown()
    public, direct = found
    return None if public == direct else "what is counted directly is not what a reader finds"
