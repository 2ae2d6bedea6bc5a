"""ServerSpans: gives each call the same SERVER span as the FastAPI instrumentation, at a tenth of the cost.

The instrumentation looks up the route, measures, and sets each attribute twice: 260 µs, more than everything else the
proxy does (docs/decisions/0005). Tracer name, span name and attributes are the same, so traces look the same; requests
that are not calls still go through the instrumentation.
"""

from collections.abc import Awaitable
from typing import Final

from opentelemetry import context
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.operations import Families

_KNOWN_METHODS: Final = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"}
)
_W3C: Final = TraceContextTextMapPropagator()
_STATUS_CODE: Final = "http.status_code"


class ServerSpans:
    """ASGI middleware. The span is current while the application runs, in a fresh context: a pipelined request starts
    in the context of the one before it, and would otherwise join its trace."""

    def __init__(self, app: ASGIApp, tracer: Tracer, families: Families) -> None:
        self._app = app
        self._tracer = tracer
        self._families = families

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        found: dict[bytes, bytes] = dict(reversed(scope["headers"]))
        method = scope["method"] if scope["method"] in _KNOWN_METHODS else "_OTHER"
        route = (self._families.of(scope["path"]) or self._families.default).route
        parent = _parent(found, scope)
        span = self._tracer.start_span(
            f"{'HTTP' if method == '_OTHER' else method} {route}",
            parent,
            SpanKind.SERVER,
        )
        if span.is_recording():  # nobody sees an unsampled one
            span.set_attributes(_attributes(scope, found, method, route))

        status: int | None = None

        def traced(message: Message) -> Awaitable[None]:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            return send(message)

        token = context.attach(set_span_in_context(span, parent))
        try:
            await self._app(scope, receive, traced)
        except Exception as fault:
            span.record_exception(fault)
            status = status or 500  # what the server responds if nothing was sent
            raise
        finally:
            context.detach(token)
            if status is not None:
                span.set_attribute(_STATUS_CODE, status)
                if status >= 500:
                    span.set_status(StatusCode.ERROR)
            span.end()


def _parent(found: dict[bytes, bytes], scope: Scope) -> Context:
    """The context of the caller's traceparent (W3C Trace Context)."""
    if b"traceparent" not in found:
        return Context()
    carrier: dict[str, str | list[str]] = {"traceparent": found[b"traceparent"].decode("latin-1")}
    if b"tracestate" in found:  # the only one of the two that may be repeated
        carrier["tracestate"] = [value.decode("latin-1") for name, value in scope["headers"] if name == b"tracestate"]
    return _W3C.extract(carrier, Context())


def _attributes(scope: Scope, found: dict[bytes, bytes], method: str, route: str) -> dict[str, AttributeValue]:
    """As opentelemetry-instrumentation-asgi collects them."""
    path: str = scope["path"]
    address, port = scope.get("server") or ("0.0.0.0", 80)
    here = address if port == 80 else f"{address}:{port}"
    host = found.get(b"host", b"").decode("latin-1") or here
    query: str = scope["query_string"].decode("latin-1")
    attributes: dict[str, AttributeValue] = {
        "http.scheme": scope["scheme"],
        "http.host": here,
        "http.server_name": host,
        "http.flavor": scope["http_version"],
        "http.method": method,
        "http.route": route,
        "http.target": path,
        "http.url": f"{scope['scheme']}://{host.rpartition('@')[2]}{path}{'?' if query else ''}{query}",
    }
    if port:
        attributes["net.host.port"] = port
    if b"user-agent" in found:
        attributes["http.user_agent"] = found[b"user-agent"].decode("latin-1")
    if scope.get("client"):
        attributes["net.peer.ip"], attributes["net.peer.port"] = scope["client"]
    return attributes
