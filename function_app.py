"""The Azure Functions entry: two functions, each of which answers a request by running the app of app.main.

The http-fastapi extension has a server of its own and asks a function for a Response; ours runs the inner app
when it is called, so bytes pass both ways as they come. (AsgiFunctionApp would hold the whole answer back.)
"""

import asyncio
import logging
import signal
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import FrameType

import azure.functions as func
import azurefunctions.extensions.http.fastapi  # noqa: F401  turns streaming on
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

from app.main import create_app

DRAIN_SECONDS = 0.5  # after the proxy's shutdown, for last bytes on their way to the host
REQUEST_KEYS = ("method", "scheme", "path", "raw_path", "query_string", "root_path", "headers")
SCOPE_KEYS = ("type", "asgi", "http_version", "client", "server", *REQUEST_KEYS)
FAULT = {"message": "The proxy failed.", "type": "server_error", "code": "proxy_error", "param": None}

logger = logging.getLogger(__name__)


class Tenant:
    """The inner app as a tenant of the extension's server, which runs its requests but not its lifespan.

    - The first request opens the lifespan on the running loop; one task enters and leaves it.
    - Uvicorn takes SIGTERM over when it starts, drains without a limit, and raises it again for the handler
      that it found. So two are ours: `_terminate`, put before uvicorn's once the lifespan is open, starts the
      shutdown while streams still run; `_drained`, there since import, learns that none is left.
    - The process then exits with 0: `app.state.proxy.shutdown()` keeps its limit whatever the streams do, and
      a connection that is not empty DRAIN_SECONDS later is left to its fate.
    """

    def __init__(self, app: Starlette) -> None:
        self._app = app
        self._opening = asyncio.Lock()
        self._lifespan: asyncio.Task[None] | None = None
        self._sigterm, self._empty = asyncio.Event(), asyncio.Event()
        signal.signal(signal.SIGTERM, self._drained)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. No exception leaves: it would close the connection that the host uses next."""
        begun = False

        def watched(message: Message) -> Awaitable[None]:
            nonlocal begun
            begun = True
            return send(message)

        inner = {key: scope[key] for key in SCOPE_KEYS if key in scope}
        inner["headers"] = [header for header in scope["headers"] if header[0] != b"x-ms-invocation-id"]
        try:
            if self._lifespan is None:
                await self._open()
            await self._app(inner, receive, watched)
        except Exception:
            logger.exception("A request failed outside of the proxy's own error handling")
            if not begun:  # an answer left unfinished is cut by the server: nobody takes it for a whole one
                await JSONResponse({"error": FAULT}, 500)(scope, receive, send)

    async def _open(self) -> None:
        async with self._opening:
            if self._lifespan is None:
                self._loop = asyncio.get_running_loop()
                opened = self._loop.create_future()
                lifespan = self._loop.create_task(self._live(opened))
                await opened
                self._lifespan = lifespan

    async def _live(self, opened: asyncio.Future[None]) -> None:
        """Hold the lifespan open until SIGTERM, then end the process. A fault at opening goes to `opened`."""
        try:
            async with self._app.router.lifespan_context(self._app):
                self._uvicorns = signal.getsignal(signal.SIGTERM)
                signal.signal(signal.SIGTERM, self._terminate)
                opened.set_result(None)
                await self._sigterm.wait()
                await self._loop.run_in_executor(ThreadPoolExecutor(1), self._app.state.proxy.shutdown)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._empty.wait(), DRAIN_SECONDS)
        except Exception as fault:
            if not opened.done():
                opened.set_exception(fault)
                return
            logger.exception("The proxy did not shut down cleanly")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not disturb the end
        raise SystemExit(0)

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        self._loop.call_soon_threadsafe(self._sigterm.set)
        if callable(self._uvicorns):
            self._uvicorns(number, frame)

    def _drained(self, number: int, frame: FrameType | None) -> None:
        if self._lifespan is None:
            raise SystemExit(0)
        for event in (self._sigterm, self._empty):
            self._loop.call_soon_threadsafe(event.set)


class Handover(Response):
    """A response that is whatever the inner app answers."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await tenant(scope, receive, send)


# The extension's server logs every URL, function keys included; the host logs each request by itself.
logging.getLogger("uvicorn.access").addFilter(lambda record: False)
tenant = Tenant(create_app())
functions = func.FunctionApp()


@functions.route("{*path}", auth_level=func.AuthLevel.FUNCTION)
async def proxy(req: Request) -> Response:
    return Handover()


@functions.route("health/{*path}", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def health(req: Request) -> Response:
    return Handover()
