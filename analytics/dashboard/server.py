"""The page's server: its files, and three answers in JSON.

GET /api/view?last=86400&region=…      all that the page shows; with If-None-Match 304 while nothing is new
GET /api/calls?…&last_at=…&last_id=…   the calls that come after one, a hundred at a time
GET /api/call?id=…                     the whole record of one
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
from analytics.dashboard.guard import Guard
from analytics.dashboard.held import Held
from analytics.dashboard.selection import BadSelection, Selection, moment
from analytics.dashboard.view import calls, view
from analytics.folder import Folder

_ASSETS: Final = Path(__file__).with_name("assets")


class Page:
    """What the routes answer. The table is read in threads, so that the server stays quick to answer."""

    def __init__(self, held: Held, app_insights: str | None) -> None:
        self._held = held
        self._app_insights = app_insights
        self._epoch = secrets.token_hex(4)
        """Versions count from the start of the server: what a browser has of another start is not this one's."""

    async def view(self, request: Request) -> Response:
        """A view of the calls that the query string chooses."""
        return await _answered(request, self._view, request.headers.get("if-none-match", ""))

    async def calls(self, request: Request) -> Response:
        """More of its calls."""
        return await _answered(request, self._calls)

    async def call(self, request: Request) -> Response:
        """One record."""
        return await _answered(request, self._call)

    def _view(self, query: Mapping[str, str], known: str) -> Response:
        now = _now()
        selection = Selection.of(query, now)
        with self._held.lock:
            tag = f'"{self._epoch}-{self._held.refresh()}-{selection.since.isoformat()}"'
            if known == tag:
                return Response(status_code=304, headers={"etag": tag})
            answer = _json(view(self._held, selection, now))
        answer.headers["etag"] = tag
        return answer

    def _calls(self, query: Mapping[str, str]) -> Response:
        selection = Selection.of(query, _now())
        if not query.get("last_at") or not query.get("last_id"):
            raise BadSelection("last_at and last_id say after which call")
        return _json({"calls": calls(self._held, selection, moment(query["last_at"]), query["last_id"])})

    def _call(self, query: Mapping[str, str]) -> Response:
        record = self._held.record(query.get("id", ""))
        if record is None:
            return _json({"error": "There is no such call in the table."}, 404)
        if self._app_insights and record["trace_id"]:
            record["trace_url"] = trace_url(self._app_insights, record["trace_id"])
        return _json(record)


async def _answered(request: Request, answer: Callable[..., Response], *given: str) -> Response:
    """The answer, or why there is none: what was asked makes no sense, or the table cannot be read."""
    try:
        return await run_in_threadpool(answer, request.query_params, *given)
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
    """The page over the table in a folder; with the resource id of an Application Insights, linked to its traces."""
    held = Held(folder)
    page = Page(held, app_insights)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            held.close()

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
