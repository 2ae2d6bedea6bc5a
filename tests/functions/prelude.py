"""Runs in the worker before the app is loaded: lets a test see every span, and adds what fails on purpose.

Each ended span is logged as a line `span {…}`. Routes under /openai/fail raise before or in the middle of an
answer. OPENING in the environment names what happens when the lifespan is opened first: `fails` or `SIGTERM`.
"""

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

import app.main
from app.main import ProxyApp
from app.settings import Settings

real_create_app = app.main.create_app


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
        logging.getLogger("spans").info("span %s", json.dumps(line, default=str))


async def fail(request: Request) -> Response:
    raise RuntimeError("failed on purpose")


async def fail_midway(request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        yield b"half an ans"
        raise RuntimeError("failed midway on purpose")

    return StreamingResponse(parts())


def disturbed(lifespan_context: Any, disturbance: str) -> Any:
    """The same lifespan, with something in the way the first time."""
    disturbances = iter([disturbance])

    @asynccontextmanager
    async def context(inner: Starlette) -> AsyncIterator[Mapping[str, Any] | None]:
        match next(disturbances, None):
            case "fails":
                raise RuntimeError("no lifespan on purpose")
            case "SIGTERM":
                os.kill(os.getpid(), signal.SIGTERM)
        async with lifespan_context(inner) as state:
            yield state

    return context


def create_app(settings: Settings | None = None, span_processors: Sequence[SpanProcessor] = ()) -> ProxyApp:
    built = real_create_app(settings, [SpanLog(), *span_processors])
    built.router.routes[:0] = [Route("/openai/fail", fail), Route("/openai/fail/midway", fail_midway)]
    if disturbance := os.environ.get("OPENING"):
        built.router.lifespan_context = disturbed(built.router.lifespan_context, disturbance)
    return built


app.main.create_app = create_app
