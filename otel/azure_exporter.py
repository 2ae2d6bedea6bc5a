"""The span exporter for Application Insights, with call spans in a shape that can be asked about there.

What azure-monitor-opentelemetry-exporter 1.0.0b58 does by itself, and what is done about it here:
  - A dependency's target is looked for in peer attributes only: they are added.
  - Its result code is known for HTTP alone, and an HTTP dependency is named after a path: the code is set afterwards,
    in a method that is not public. Without it (`why_no_result_codes`) the code is left as "0".
  - Numbers become text: those worth reckoning with become measurements, by their attributes' names.
  - A list becomes Python's text of a tuple: it is written as JSON.
  - A request is marked as already counted in metrics of FastAPI's instrumentation, which is told to make none here;
    Application Insights would then count no requests at all: requests go under a scope that bears no mark.
  - A request is named after its route, which is one for all that is proxied: operations are told apart in it.
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
_REQUESTS: Final = InstrumentationScope(f"{a.SCOPE}.requests")
_ROUTE: Final = "http.route"
_CATCH_ALL: Final = "/openai/{path:path}"
# The words of Azure OpenAI's paths; whatever else stands in one is a name or an id.
_WORDS: Final = frozenset(
    {"openai", "v1", "deployments", "chat", "completions", "embeddings", "responses", "input_items", "cancel", "audio"}
    | {"speech", "transcriptions", "translations", "images", "generations", "edits", "models", "files", "content"}
    | {"uploads", "batches", "vector_stores", "search", "assistants", "threads", "messages", "runs", "steps", "items"}
    | {"fine_tuning", "jobs", "evals", "containers", "conversations", "realtime"}
)


def monitor_span_exporter(arguments: Mapping[str, Any], result_codes: bool = True) -> SpanExporter:
    """Azure's exporter, set up by `arguments`, that gives spans the right shape. They must have been scrubbed.

    `result_codes`: with those of calls, for which a method of Azure's is extended that is not public.
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
    """Why result codes cannot be set, or None: tried on one span. May raise whatever the exporter's insides do."""
    from azure.monitor.opentelemetry.exporter import AzureMonitorTraceExporter as Exporter

    where = SpanContext(1, 1, is_remote=False)
    told: dict[str, AttributeValue] = {a.SYSTEM: a.PROVIDER, a.HTTP_STATUS: 200}
    span = ReadableSpan("check", where, kind=SpanKind.CLIENT, attributes=told, start_time=1, end_time=2)
    exporter: Any = object.__new__(Exporter)  # one that is set up starts threads
    exporter._instrumentation_key = ""
    made = exporter._span_to_envelope(span)
    before = made.as_dict()["data"]["baseData"]
    after = _with_result_code(made, span).as_dict()["data"]["baseData"]
    if after != {**before, "resultCode": "200"}:
        return "the result code of a dependency is not where it was"
    return None if "_span_to_envelope" in Exporter.export.__code__.co_names else "export makes envelopes in another way"


def _with_result_code(envelope: Any, span: ReadableSpan) -> Any:
    status = (span.attributes or {}).get(a.HTTP_STATUS)
    if status is not None:
        envelope.data.base_data.result_code = str(status)
    return envelope


def shaped(span: ReadableSpan) -> ReadableSpan:
    """The span of a call or of a request in Application Insights' shape; any other is left as it is."""
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
