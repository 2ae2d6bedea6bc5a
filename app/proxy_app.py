"""ProxyApp: the FastAPI application, which hands calls straight to the relay.

Imported only when an application is created: FastAPI with its models takes longer to import than everything else.
"""

import sys
from collections.abc import Callable
from functools import partial

from fastapi import FastAPI, Request
from opentelemetry import context
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.fastapi.version import __version__ as instrumentation_version
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import TracerProvider
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.door.connection import GuardedConnection, guard_connections
from app.door.door import Door
from app.door.session_keys import QUERY
from app.errors import MethodNotAllowed, NotFound
from app.headers import without_secrets
from app.operations import Families
from app.relay.relay import current_trace_id
from app.server_spans import ServerSpans


class ProxyApp(FastAPI):
    """FastAPI with two steps before anything else sees a request, and a shortcut for calls.

    It removes a key from the query string (`code` of the Functions host, `subscription-key` of API Management), so that
    neither spans nor logs nor upstream can show it. It disables uvicorn's own `date` and `server` headers, which would
    otherwise be sent in addition to upstream's. `why_not_left_off` says
    whether it can; if not, uvicorn's options must do that.

    Calls go straight to `calls`: FastAPI's middleware and router would only cost them time.
    """

    calls: ASGIApp
    call_prefixes: tuple[str, ...] = ()
    connection: Callable[..., GuardedConnection]
    """Makes uvicorn's connections."""
    leaves_off_headers = True
    guards_connections = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                guard_connections(getattr(receive, "__self__", None), self.guards_connections and self.connection)
            await super().__call__(scope, receive, send)
            return
        query = scope["query_string"]
        scope["query_string"] = without_secrets(query)
        if "extensions" in scope:  # a session's key may be in its query, and is needed once
            scope["extensions"][QUERY] = query
        if self.leaves_off_headers:
            server = getattr(receive, "__self__", None)  # `send` is wrapped by the Functions extension
            if getattr(server, "default_headers", None):
                server.default_headers = []  # type: ignore[union-attr]
        if scope["path"].startswith(self.call_prefixes):
            await self.calls(scope, receive, send)
            return
        # a pipelined request starts in the context of the one before it, and would join its trace
        token = context.attach(context.Context())
        try:
            await super().__call__(scope, receive, send)
        finally:
            context.detach(token)


def why_not_left_off() -> str | None:
    """Why uvicorn's own headers cannot be left off, or None; None too where another server serves."""
    if "uvicorn" not in sys.modules:
        return None
    from uvicorn.protocols.http import httptools_impl

    loaded = [httptools_impl, sys.modules.get("uvicorn.protocols.http.h11_impl")]
    for cycle in (module.RequestResponseCycle for module in loaded if module is not None):
        if not all("default_headers" in method.__code__.co_names for method in (cycle.__init__, cycle.send)):
            return f"{cycle.__module__} keeps its own headers elsewhere: use --no-date-header --no-server-header"
    return None


def join_calls(app: ProxyApp, families: Families, relay: ASGIApp, door: Door, provider: TracerProvider) -> None:
    """Route calls to the relay, answer unrouted requests with an error, and trace both."""
    tracer = provider.get_tracer(FastAPIInstrumentor.__module__, instrumentation_version)
    app.calls, app.call_prefixes = ServerSpans(relay, tracer, families), families.prefixes
    app.connection = partial(GuardedConnection, error_body=families.default.error_body, refuse=door.refuse)
    app.add_exception_handler(HTTPException, _not_served(families, door))
    _instrument(app, provider)


def _not_served(families: Families, door: Door) -> Callable[[Request, Exception], Response]:
    """Answers a request that no route serves, in the same shape as every other error."""

    def answer(request: Request, fault: Exception) -> Response:
        status = fault.status_code if isinstance(fault, HTTPException) else 404
        error = (
            MethodNotAllowed("This method is not allowed here.")
            if status == 405
            else NotFound(f"There is nothing at this path: calls go to {families.named}.")
        )
        door.refuse(error)
        headers = {"x-trace-id": current_trace_id()}
        body = families.default.error_body(error)
        return Response(body, error.status, headers, media_type="application/json")

    return answer


def _instrument(app: FastAPI, provider: TracerProvider) -> None:
    """SERVER spans for everything except health probes, none for single sends and receives, and no metrics."""
    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=provider,
        meter_provider=NoOpMeterProvider(),
        excluded_urls=r"^[a-z]+://[^/]+/health/(live|ready)$",
        exclude_spans=["send", "receive"],
    )
