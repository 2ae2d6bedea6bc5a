"""The TracerProvider: our own, never global, so that nothing else in the process changes what a call's trace is."""

from collections.abc import Sequence

from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import AlwaysRecordSampler, ParentBased, Sampler, TraceIdRatioBased

SERVICE = "azure-openai-telemetry-proxy"


def make_provider(processors: Sequence[SpanProcessor], sampler: Sampler) -> TracerProvider:
    """A provider whose spans are all recorded, and sampled as `sampler` says.

    A limit on attribute lengths from the environment would cut prompts in the records: none applies here. What goes
    to Application Insights is limited on its own way out.
    """
    provider = TracerProvider(
        sampler=AlwaysRecordSampler(sampler),
        resource=Resource.create({SERVICE_NAME: SERVICE}),
        span_limits=SpanLimits(
            max_span_attributes=SpanLimits.UNSET,
            max_attributes=SpanLimits.UNSET,
            max_attribute_length=SpanLimits.UNSET,
            max_span_attribute_length=SpanLimits.UNSET,
        ),
        shutdown_on_exit=False,
    )
    for processor in processors:
        provider.add_span_processor(processor)
    return provider


def make_sampler(trace_ratio: float | None) -> Sampler:
    """An incoming sampled flag decides; for traces that start here, `trace_ratio` of them is sampled."""
    return ParentBased(TraceIdRatioBased(1.0 if trace_ratio is None else trace_ratio))
