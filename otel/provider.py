"""The TracerProvider: our own, never global, so that nothing else in the process changes what a call's trace is."""

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
    """A provider whose spans are all recorded, and sampled as `sampler` says.

    `writer` is how calls' facts get onto their spans, a DirectWriter if None.

    Without `record_requests` the SERVER spans are recorded only if they are sampled: of the others no record needs
    anything, and none of `processors` looks at them.

    A limit on attribute lengths from the environment would cut prompts in the records: none applies here. What goes
    to Application Insights is limited on its own way out.
    """
    provider = TracerProvider(
        sampler=RecordAll(sampler, record_requests),
        resource=_resource(),
        span_limits=SpanLimits(
            max_span_attributes=SpanLimits.UNSET,
            max_attributes=SpanLimits.UNSET,
            max_attribute_length=SpanLimits.UNSET,
            max_span_attribute_length=SpanLimits.UNSET,
        ),
        shutdown_on_exit=False,
    )
    for processor in (KnownAtStart(writer or DirectWriter()), *processors):
        provider.add_span_processor(processor)
    return provider


def _resource() -> Resource:
    """What this process is, by the name OTEL_SERVICE_NAME gives it, or a detector finds on App Service, or ours."""
    found = Resource.create()
    named = not str(found.attributes.get(SERVICE_NAME, "unknown_service")).startswith("unknown_service")
    return found if named else found.merge(Resource({SERVICE_NAME: SERVICE}))


class RecordAll(Sampler):
    """Records every span, but for requests perhaps, and samples those that `root` samples, which must drop the others.

    The SDK's AlwaysRecordSampler does that too, but an unsampled span then starts without the attributes it was
    given, since a result that drops a span carries none.
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
        """For people."""
        return f"RecordAll{{{self._root.get_description()}}}"
