"""Runs in the worker before the app is loaded: lets a test see every span, and adds what fails on purpose.

Each ended span is logged as a line `span {…}`. Routes under /openai/fail raise before or in the middle of an
answer. FAIL_LIFESPAN=1 in the environment makes the first opening of the lifespan fail.
"""

import json
import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import app.main
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import format_span_id, format_trace_id
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

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


def failing_once(lifespan_context: Any) -> Any:
    """The same lifespan, which cannot be opened the first time."""
    attempts = iter([True])

    @asynccontextmanager
    async def context(inner: Starlette) -> AsyncIterator[Mapping[str, Any] | None]:
        if next(attempts, False):
            raise RuntimeError("no lifespan on purpose")
        async with lifespan_context(inner) as state:
            yield state

    return context


def create_app() -> Starlette:
    built: Starlette = real_create_app(span_processors=[SpanLog()])
    built.router.routes[:0] = [Route("/openai/fail", fail), Route("/openai/fail/midway", fail_midway)]
    if os.environ.get("FAIL_LIFESPAN"):
        built.router.lifespan_context = failing_once(built.router.lifespan_context)
    return built


app.main.create_app = create_app
