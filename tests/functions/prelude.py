"""Runs in the worker before the app is loaded: makes its inside visible to a test, and adds deliberate failures.

It prints `scope […]` with the keys of each scope that the app gets, `span {…}` for each ended span, and logs `opening`
each time the lifespan is opened. Routes under /fail raise before or in the middle of a response. OPENING in the
environment says what happens when the lifespan is first opened: it `fails`, it `waits` for SIGUSR1, or the process
gets SIGTERM. With TEARDOWN set, interpreter finalization crashes.
"""

import asyncio
import json
import logging
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import format_span_id, format_trace_id
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

import app.main
from app.operations import FAMILIES, Families
from app.proxy_app import ProxyApp
from app.settings.settings import Settings

log = logging.getLogger("prelude")
real_create_app = app.main.create_app
real_call = ProxyApp.__call__


class SpanLog(SpanProcessor):
    """Logs each span when it ends."""

    def on_end(self, span: ReadableSpan) -> None:
        assert span.context
        line = {
            "name": span.name,
            "kind": span.kind.name,
            "trace_id": format_trace_id(span.context.trace_id),
            "span_id": format_span_id(span.context.span_id),
            "parent_id": format_span_id(span.parent.span_id) if span.parent else None,
            "attributes": dict(span.attributes or {}),
        }
        print("span", json.dumps(line, default=str), flush=True)  # logging is rate-limited


async def call(self: ProxyApp, scope: Scope, receive: Receive, send: Send) -> None:
    print("scope", json.dumps(sorted(scope)), flush=True)
    await real_call(self, scope, receive, send)


async def fail(request: Request) -> Response:
    raise RuntimeError("failed on purpose")


async def fail_midway(request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        yield b"half an ans"
        raise RuntimeError("failed midway on purpose")

    return StreamingResponse(parts())


def disturbed(lifespan_context: Any, disturbance: str | None) -> Any:
    """The same lifespan, disturbed the first time."""
    disturbances = iter([disturbance])

    @asynccontextmanager
    async def context(inner: Starlette) -> AsyncIterator[Mapping[str, Any] | None]:
        log.info("opening")
        match next(disturbances, None):
            case "waits":
                released = asyncio.Event()
                asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, released.set)
                log.info("waiting")
                await released.wait()
            case "fails":
                raise RuntimeError("no lifespan on purpose")
            case "SIGTERM":
                os.kill(os.getpid(), signal.SIGTERM)
        async with lifespan_context(inner) as state:
            yield state

    return context


class Crash:
    """Crashes the process as a bad pointer would, when it is finalized."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)


def create_app(
    settings: Settings | None = None,
    span_processors: Sequence[SpanProcessor] = (),
    families: Families = FAMILIES,
) -> ProxyApp:
    built = real_create_app(settings, [SpanLog(), *span_processors], families)
    built.router.routes[:0] = [Route("/fail", fail), Route("/fail/midway", fail_midway)]
    built.router.lifespan_context = disturbed(built.router.lifespan_context, os.environ.get("OPENING"))
    return built


app.main.create_app = create_app
if "TEARDOWN" in os.environ:
    app.main.crash = Crash()  # type: ignore[attr-defined]
ProxyApp.__call__ = call  # type: ignore[method-assign]
