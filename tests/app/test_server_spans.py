"""ServerSpans makes the same span as the FastAPI instrumentation for each request."""

import asyncio
import contextlib
from typing import Any

import pytest
from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.fastapi.version import __version__
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from app.operations import FAMILIES
from app.server_spans import ServerSpans

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def request(method: str = "POST", query: bytes = b"", **headers: bytes) -> Scope:
    named = [(name.replace("_", "-").encode(), value) for name, value in headers.items()]
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 7071),
        "client": ("127.0.0.1", 50_000),
        "scheme": "http",
        "method": method,
        "root_path": "",
        "path": "/openai/deployments/gpt-4o/chat/completions",
        "raw_path": b"/openai/deployments/gpt-4o/chat/completions",
        "query_string": query,
        "headers": [(b"host", b"proxy.example:8080"), *named],
    }


class Answering:
    """An endpoint that responds with a status, or raises; a class, so that Route does not wrap it."""

    def __init__(self, status: int | Exception) -> None:
        self._status = status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if isinstance(self._status, Exception):
            raise self._status
        await send({"type": "http.response.start", "status": self._status, "headers": []})
        await send({"type": "http.response.body", "body": b"{}", "more_body": False})


def span_of(make: Any, endpoint: ASGIApp, scope: Scope) -> ReadableSpan:
    """The one span of a request to the application that `make` builds around the endpoint."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(sampler=ALWAYS_ON)
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        pass

    async def serve() -> None:
        with contextlib.suppress(ZeroDivisionError):
            await make(endpoint, provider)(dict(scope), receive, send)

    asyncio.run(serve())
    (span,) = exporter.get_finished_spans()
    return span


def ours(endpoint: ASGIApp, provider: TracerProvider) -> ASGIApp:
    return ServerSpans(endpoint, provider.get_tracer(FastAPIInstrumentor.__module__, __version__), FAMILIES)


def theirs(endpoint: ASGIApp, provider: TracerProvider) -> ASGIApp:
    app = FastAPI(
        routes=[Route(FAMILIES.default.route, endpoint)], telemetry={"tracing": False, "metrics": False, "logs": False}
    )
    FastAPIInstrumentor.instrument_app(app, tracer_provider=provider, exclude_spans=["send", "receive"])
    return app


@pytest.mark.parametrize("status", [200, 404, 500, ZeroDivisionError("planted")])
@pytest.mark.parametrize(
    "scope",
    [
        request(),
        request("GET", b"api-version=2024-10-21"),
        request("BREW", user_agent=b"openai/1.0"),
        request(traceparent=PARENT, tracestate=b"a=1"),
        request(traceparent=PARENT[:-1] + b"0"),
        request(traceparent=b"nonsense"),
    ],
    ids=["plain", "query", "odd method", "sampled parent", "unsampled parent", "no parent"],
)
def test_the_span_equals_the_instrumentations(scope: Scope, status: Any) -> None:
    """Scope, name, kind, parent, attributes, events and status are the same."""
    endpoint = Answering(status)
    assert content(span_of(ours, endpoint, scope)) == content(span_of(theirs, endpoint, scope))


def content(span: ReadableSpan) -> dict[str, Any]:
    """A span's content without its ids, times and stack traces."""
    scope, parent = span.instrumentation_scope, span.parent
    return {
        "scope": (scope.name, scope.version) if scope else None,
        "name": (span.name, span.kind),
        "parent": (parent.trace_id, parent.span_id, parent.is_remote, parent.trace_flags) if parent else None,
        "state": span.context.trace_state.to_header(),
        "attributes": dict(span.attributes or {}),
        "events": [
            (event.name, {name: value for name, value in (event.attributes or {}).items() if "stack" not in name})
            for event in span.events
        ],
        "status": span.status.status_code,
    }
