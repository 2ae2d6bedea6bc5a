"""The page's server: static files and three JSON endpoints.

GET /api/view?last=86400&region=…      everything the page shows; supports If-None-Match
GET /api/calls?…&last_at=…&last_id=…   the next hundred calls after one, newest first
GET /api/call?id=…                     the whole record of one call
"""

import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import duckdb
import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from analytics.ask.__main__ import trace_url
from analytics.dashboard.cache import CallCache
from analytics.dashboard.guard import Guard
from analytics.dashboard.selection import BadSelection, Selection, moment
from analytics.dashboard.view import calls, view
from analytics.folder import Folder

_ASSETS: Final = Path(__file__).with_name("assets")


class Page:
    """The endpoints. They read the table in threads, to keep the event loop free."""

    def __init__(self, cache: CallCache, app_insights: str | None) -> None:
        self._cache = cache
        self._app_insights = app_insights
        self._epoch = secrets.token_hex(4)
        """Makes ETags of different server runs distinct: each run counts versions from 0."""

    async def view(self, request: Request) -> Response:
        """A view of the selected calls."""
        return await _respond(request, self._view, request.headers.get("if-none-match", ""))

    async def calls(self, request: Request) -> Response:
        """The next page of calls."""
        return await _respond(request, self._calls)

    async def call(self, request: Request) -> Response:
        """One call's record."""
        return await _respond(request, self._call)

    def _view(self, query: Mapping[str, str], known: str) -> Response:
        now = _now()
        selection = Selection.of(query, now)
        with self._cache.lock:
            tag = f'"{self._epoch}-{self._cache.refresh()}-{selection.since.isoformat()}"'
            if known == tag:
                return Response(status_code=304, headers={"etag": tag})
            response = _json(view(self._cache, selection, now))
        response.headers["etag"] = tag
        return response

    def _calls(self, query: Mapping[str, str]) -> Response:
        selection = Selection.of(query, _now())
        if not query.get("last_at") or not query.get("last_id"):
            raise BadSelection("last_at and last_id are required")
        return _json({"calls": calls(self._cache, selection, moment(query["last_at"]), query["last_id"])})

    def _call(self, query: Mapping[str, str]) -> Response:
        record = self._cache.record(query.get("id", ""))
        if record is None:
            return _json({"error": "There is no such call in the table."}, 404)
        if self._app_insights and record["trace_id"]:
            record["trace_url"] = trace_url(self._app_insights, record["trace_id"])
        return _json(record)


async def _respond(request: Request, endpoint: Callable[..., Response], *given: str) -> Response:
    """The endpoint's response; 400 for an invalid selection, 503 if the table cannot be read."""
    try:
        return await run_in_threadpool(endpoint, request.query_params, *given)
    except BadSelection as fault:
        return _json({"error": str(fault)}, 400)
    except (duckdb.Error, OSError) as fault:
        return _json({"error": f"The table cannot be read: {type(fault).__name__}: {fault}"}, 503)


def _json(value: object, status: int = 200) -> Response:
    body = orjson.dumps(value, option=orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z)
    return Response(body, status, media_type="application/json")


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def create_app(folder: Folder, app_insights: str | None = None) -> Starlette:
    """The application for a table; with the resource id of Application Insights, records link to their traces."""
    cache = CallCache(folder)
    page = Page(cache, app_insights)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            cache.close()

    return Starlette(
        routes=[
            Route("/api/view", page.view),
            Route("/api/calls", page.calls),
            Route("/api/call", page.call),
            Mount("/", StaticFiles(directory=_ASSETS, html=True)),
        ],
        middleware=[Middleware(Guard)],
        lifespan=lifespan,
    )
