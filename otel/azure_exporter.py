"""The span exporter for Application Insights: reshapes call spans so that they can be queried there.

What azure-monitor-opentelemetry-exporter 1.0.0b58 does, and what this module does about it:
  - It reads a dependency's target from peer attributes only: they are added.
  - It sets a result code for HTTP only, and names an HTTP dependency after its path: the code is set afterwards, in a
    private method. Without that method (`why_no_result_codes`) the code stays "0".
  - It turns numbers into strings: those worth aggregating become measurements, named after their attributes.
  - It writes a list as the repr of a tuple: here it becomes JSON.
  - It marks a request as already counted by the metrics of FastAPI's instrumentation, which are off here, so
    Application Insights would count no requests at all: requests get a scope that is not marked.
  - It names a request after its route, and all proxied requests share one: the operation is put into the route.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind
from opentelemetry.util.types import AttributeValue

from otel import attributes as a

MEASUREMENTS: Final = "microsoft.custom_measurements"
ELAPSED_MS: Final = "proxy.elapsed_ms"
"""Of an event: milliseconds since the request arrived."""

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
# These stay properties too: Azure's own views of GenAI calls read them there.
_MEASURED_AND_KEPT: Final = frozenset({a.INPUT_TOKENS, a.OUTPUT_TOKENS, a.CACHED_TOKENS, a.REASONING_TOKENS})
_DEFAULT_PORTS: Final = (80, 443)
_REQUESTS: Final = InstrumentationScope(f"{a.SCOPE}.requests")
_ROUTE: Final = "http.route"
_CATCH_ALL: Final = "/openai/{path:path}"
# The fixed segments of Azure OpenAI's paths; any other segment is a name or an id.
_WORDS: Final = frozenset(
    {"openai", "v1", "deployments", "chat", "completions", "embeddings", "responses", "input_items", "cancel"}
    | {"audio", "speech", "transcriptions", "translations", "images", "generations", "edits", "models", "files"}
    | {"content", "uploads", "batches", "vector_stores", "search", "assistants", "threads", "messages", "runs"}
    | {"steps", "items", "fine_tuning", "jobs", "evals", "containers", "conversations", "realtime", "compact"}
    | {"submit_tool_outputs", "videos", "video", "anthropic", "count_tokens", "info"}
)


def monitor_span_exporter(arguments: Mapping[str, Any], result_codes: bool = True) -> SpanExporter:
    """Azure's exporter, created with `arguments`, which reshapes spans. They must have been scrubbed.

    `result_codes`: also set the result codes of calls, which extends a private method of Azure's exporter.
    """
    from azure.monitor.opentelemetry.exporter import AzureMonitorTraceExporter

    class Shaping(AzureMonitorTraceExporter):
        def export(self, spans: Sequence[ReadableSpan], **kwargs: Any) -> SpanExportResult:
            return super().export([shaped(span) for span in spans], **kwargs)

    class WithResultCodes(Shaping):
        def _span_to_envelope(self, span: ReadableSpan) -> Any:
            return _with_result_code(super()._span_to_envelope(span), span)

    return (WithResultCodes if result_codes else Shaping)(**arguments)


def why_no_result_codes() -> str | None:
    """Why result codes cannot be set, or None: tries one span. May raise whatever the exporter's internals raise."""
    from azure.monitor.opentelemetry.exporter import AzureMonitorTraceExporter as Exporter

    where = SpanContext(1, 1, is_remote=False)
    attributes: dict[str, AttributeValue] = {a.SYSTEM: a.PROVIDER, a.HTTP_STATUS: 200}
    span = ReadableSpan("check", where, kind=SpanKind.CLIENT, attributes=attributes, start_time=1, end_time=2)
    exporter: Any = object.__new__(Exporter)  # its __init__ would start threads
    exporter._instrumentation_key = ""
    envelope = exporter._span_to_envelope(span)
    before = envelope.as_dict()["data"]["baseData"]
    after = _with_result_code(envelope, span).as_dict()["data"]["baseData"]
    if after != {**before, "resultCode": "200"}:
        return "the result code of a dependency has moved"
    return (
        None if "_span_to_envelope" in Exporter.export.__code__.co_names else "export no longer calls _span_to_envelope"
    )


def _with_result_code(envelope: Any, span: ReadableSpan) -> Any:
    status = (span.attributes or {}).get(a.HTTP_STATUS)
    if status is not None:
        envelope.data.base_data.result_code = str(status)
    return envelope


def shaped(span: ReadableSpan) -> ReadableSpan:
    """A call's or a request's span in Application Insights' shape; any other span is returned unchanged."""
    scope = span.instrumentation_scope
    given = span.attributes or {}
    if scope is not None and scope.name == a.SCOPE:
        events = [_shaped_event(event, span.start_time or 0) for event in span.events]
        return _copy(span, _call_attributes(given), events, scope)
    if span.kind is SpanKind.SERVER:
        if given.get(_ROUTE) == _CATCH_ALL:
            given = {**given, _ROUTE: _route(str(given.get("http.target") or given.get("url.path")))}
        return _copy(span, given, span.events, _REQUESTS)
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


def _copy(
    span: ReadableSpan, attributes: Mapping[str, AttributeValue], events: Sequence[Event], scope: InstrumentationScope
) -> ReadableSpan:
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
        instrumentation_scope=scope,
    )


def _shaped_event(event: Event, start_ns: int) -> Event:
    given = event.attributes or {}
    measured = {name: value for name, value in given.items() if name in _MEASURED}
    kept = {name: value for name, value in given.items() if name not in _MEASURED}
    measured[ELAPSED_MS] = round((event.timestamp - start_ns) / 1e6, 3)
    return Event(event.name, {**kept, MEASUREMENTS: _text(measured)}, event.timestamp)


def _text(value: object) -> str:
    return orjson.dumps(value).decode()
