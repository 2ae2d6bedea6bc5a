"""The span exporter for Application Insights, with call spans in a shape that can be asked about there.

What azure-monitor-opentelemetry-exporter 1.0.0b58 does by itself, and what is done about it here:
  - A dependency's target is looked for in peer attributes only: they are added.
  - Its result code is known for HTTP alone, and an HTTP dependency is named after a path: the code is set afterwards.
  - Numbers become text: those worth reckoning with become measurements, by their attributes' names.
  - A list becomes Python's text of a tuple: it is written as JSON.
  - A request is marked as already counted in metrics of FastAPI's instrumentation, which is told to make none here;
    Application Insights would then count no requests at all: the mark is taken off.
  - A request is named after its route, which is one for all that is proxied: operations are told apart in it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.util.types import AttributeValue

from otel import attributes as a

MEASUREMENTS: Final = "microsoft.custom_measurements"
ELAPSED_MS: Final = "proxy.elapsed_ms"
"""Of an event: since the request's arrival."""

_MEASURED: Final = frozenset(
    {
        a.ATTEMPTS,
        a.CHUNKS,
        a.LATENCY_MS,
        a.TIME_TO_FIRST_CHUNK_MS,
        a.TIME_TO_FIRST_TOKEN_MS,
        a.REQUEST_BYTES,
        a.RESPONSE_BYTES,
    }
)
# These stay properties too, since Azure's own views of GenAI calls read them there.
_MEASURED_AND_KEPT: Final = frozenset({a.INPUT_TOKENS, a.OUTPUT_TOKENS, a.CACHED_TOKENS, a.REASONING_TOKENS})
_DEFAULT_PORTS: Final = (80, 443)
_COUNTED: Final = "_MS.ProcessedByMetricExtractors"
_ROUTE: Final = "http.route"
_CATCH_ALL: Final = "/openai/{path:path}"
# The words of Azure OpenAI's paths; whatever else stands in one is a name or an id.
_WORDS: Final = frozenset(
    {"openai", "v1", "deployments", "chat", "completions", "embeddings", "responses", "input_items", "cancel", "audio"}
    | {"speech", "transcriptions", "translations", "images", "generations", "edits", "models", "files", "content"}
    | {"uploads", "batches", "vector_stores", "search", "assistants", "threads", "messages", "runs", "steps", "items"}
    | {"fine_tuning", "jobs", "evals", "containers", "conversations", "realtime"}
)


def monitor_span_exporter(arguments: Mapping[str, Any]) -> SpanExporter:
    """Azure's exporter, set up by `arguments`, that gives spans the right shape. They must have been scrubbed."""
    from azure.monitor.opentelemetry.exporter import AzureMonitorTraceExporter

    class MonitorSpanExporter(AzureMonitorTraceExporter):
        def export(self, spans: Sequence[ReadableSpan], **kwargs: Any) -> SpanExportResult:
            return super().export([shaped(span) for span in spans], **kwargs)

        def _span_to_envelope(self, span: ReadableSpan) -> Any:
            envelope: Any = super()._span_to_envelope(span)
            data, status = envelope.data.base_data, (span.attributes or {}).get(a.HTTP_STATUS)
            if status is not None:
                data.result_code = str(status)
            data.properties.pop(_COUNTED, None)
            return envelope

    return MonitorSpanExporter(**arguments)


def shaped(span: ReadableSpan) -> ReadableSpan:
    """The span of a call or of its request in Application Insights' shape; any other is left as it is."""
    scope = span.instrumentation_scope
    given = span.attributes or {}
    if scope is not None and scope.name == a.SCOPE:
        events = [_shaped_event(event, span.start_time or 0) for event in span.events]
        return _copy(span, _call_attributes(given), events)
    if given.get(_ROUTE) == _CATCH_ALL:
        return _copy(
            span, {**given, _ROUTE: _route(str(given.get("http.target") or given.get("url.path")))}, span.events
        )
    return span


def _call_attributes(given: Mapping[str, AttributeValue]) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {}
    if (address := given.get(a.SERVER_ADDRESS)) is not None:
        attributes["net.peer.name"] = address
    if (port := given.get(a.SERVER_PORT)) is not None and port not in _DEFAULT_PORTS:
        attributes["net.peer.port"] = port
    measured: dict[str, AttributeValue] = {}
    for name, value in given.items():
        if name in _MEASURED or name in _MEASURED_AND_KEPT:
            measured[name] = value
        if name not in _MEASURED:
            attributes[name] = _text(value) if isinstance(value, list | tuple) else value
    return {MEASUREMENTS: _text(measured), **attributes}


def _route(path: str) -> str:
    """The path with names and ids replaced: /openai/deployments/{}/chat/completions."""
    segments = path.partition("?")[0].strip("/").split("/")
    return "/" + "/".join(segment if segment in _WORDS else "{}" for segment in segments[:10])


def _copy(span: ReadableSpan, attributes: Mapping[str, AttributeValue], events: Sequence[Event]) -> ReadableSpan:
    return ReadableSpan(
        name=span.name,
        context=span.get_span_context(),
        parent=span.parent,
        resource=span.resource,
        attributes=attributes,
        events=events,
        links=span.links,
        kind=span.kind,
        status=span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _shaped_event(event: Event, start_ns: int) -> Event:
    given = event.attributes or {}
    measured = {name: value for name, value in given.items() if name in _MEASURED}
    kept = {name: value for name, value in given.items() if name not in _MEASURED}
    measured[ELAPSED_MS] = round((event.timestamp - start_ns) / 1e6, 3)
    return Event(event.name, {**kept, MEASUREMENTS: _text(measured)}, event.timestamp)


def _text(value: object) -> str:
    return orjson.dumps(value).decode()
