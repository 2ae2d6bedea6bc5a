"""The TracerProvider: our own, never global, so that nothing else in the process can change a call's trace."""

from collections.abc import Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

from otel.span import KnownAtStart
from otel.writing import DirectWriter, SpanWriter

SERVICE = "azure-openai-telemetry-proxy"
_RECORDED: Final = SamplingResult(Decision.RECORD_ONLY)


def make_provider(
    processors: Sequence[SpanProcessor],
    sampler: Sampler,
    record_requests: bool = True,
    writer: SpanWriter | None = None,
) -> TracerProvider:
    """A provider that records all spans, and samples as `sampler` decides.

    `writer` writes calls' facts to their spans, a DirectWriter if None.

    Without `record_requests`, SERVER spans are recorded only if they are sampled: no record needs the others, and
    none of `processors` reads them.

    Limits from the environment would cut prompts and attempts in the records, so none apply here. `otel.scrub`
    limits what goes to Application Insights.
    """
    provider = TracerProvider(
        sampler=RecordAll(sampler, record_requests),
        resource=_resource(),
        span_limits=SpanLimits(
            max_span_attributes=SpanLimits.UNSET,
            max_attributes=SpanLimits.UNSET,
            max_attribute_length=SpanLimits.UNSET,
            max_span_attribute_length=SpanLimits.UNSET,
            max_events=SpanLimits.UNSET,
            max_event_attributes=SpanLimits.UNSET,
            max_links=SpanLimits.UNSET,
            max_link_attributes=SpanLimits.UNSET,
        ),
        shutdown_on_exit=False,
    )
    for processor in (KnownAtStart(writer or DirectWriter()), *processors):
        provider.add_span_processor(processor)
    return provider


def _resource() -> Resource:
    """The process's resource, named by OTEL_SERVICE_NAME, else by a detector on App Service, else by us."""
    found = Resource.create()
    named = not str(found.attributes.get(SERVICE_NAME, "unknown_service")).startswith("unknown_service")
    return found if named else found.merge(Resource({SERVICE_NAME: SERVICE}))


class RecordAll(Sampler):
    """Records every span (requests only if asked), and samples those that `root` samples; `root` must drop the others.

    The SDK's AlwaysRecordSampler does that too, but with it an unsampled span starts without its attributes, since a
    result that drops a span carries none.
    """

    def __init__(self, root: Sampler, record_requests: bool = True) -> None:
        self._root = root
        self._record_requests = record_requests

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
        """The root's decision, with recording in place of dropping, and all attributes."""
        result = self._root.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)
        if result.decision is Decision.RECORD_AND_SAMPLE or (kind is SpanKind.SERVER and not self._record_requests):
            return result
        if attributes or result.trace_state:
            return SamplingResult(Decision.RECORD_ONLY, attributes, result.trace_state)
        return _RECORDED

    def get_description(self) -> str:
        """A readable name."""
        return f"RecordAll{{{self._root.get_description()}}}"
