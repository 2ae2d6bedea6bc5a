"""The Azure Functions entry point: two functions that both run the app of app.main.

The http-fastapi extension has its own server and expects a Response from a function; ours runs the inner app when
it is called, so bytes stream in both directions. (AsgiFunctionApp would buffer the whole response.)
"""

import asyncio
import atexit
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import NoReturn

import azure.functions as func
import azurefunctions.extensions.http.fastapi  # noqa: F401  turns streaming on
import uvicorn.config
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

from app.main import create_app

REQUEST_KEYS = ("method", "scheme", "path", "raw_path", "query_string", "root_path", "headers")
SCOPE_KEYS = ("type", "asgi", "http_version", "client", "server", *REQUEST_KEYS)
FAULT = {"message": "The proxy failed.", "type": "server_error", "code": "proxy_error", "param": None}

logger = logging.getLogger(__name__)


class Tenant:
    """The inner app as a tenant of the extension's server, which runs its requests but not its lifespan.

    - The first request opens the lifespan on the running loop; one task enters and leaves it.
    - SIGTERM is handled twice. Uvicorn replaces our handler when it starts, waits for its connections without a limit,
      and only then raises the signal for the handler it replaced, installed at import: enough for a worker that has
      served nothing. Once the lifespan is open, ours replaces uvicorn's and starts the shutdown while streams run.
    - The shutdown: `app.state.proxy.shutdown()`, which keeps its limit whatever the streams do, runs in a thread, so
      that the loop and its streams continue; then the lifespan is left, and the process exits with 0. It skips
      interpreter finalization, in which CPython 3.13 can crash while an unjoined thread is alive.
    """

    def __init__(self, app: Starlette) -> None:
        self._app = app
        self._opening = asyncio.Lock()
        self._lifespan: asyncio.Task[None] | None = None
        self._uvicorn_handler: Callable[[int, FrameType | None], object] | int | None = None
        self._sigterm = asyncio.Event()
        self._exiting = False
        atexit.register(self._skip_finalization)
        signal.signal(signal.SIGTERM, self._on_sigterm)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Raises nothing: an exception would close the connection that the host reuses."""
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
            logger.exception("a request failed outside the proxy's own error handling")
            if not begun:  # else the server cuts the unfinished response, and no client takes it for complete
                await JSONResponse({"error": FAULT}, 500)(scope, receive, send)

    async def _open(self) -> None:
        async with self._opening:
            if self._lifespan is None:
                self._loop = asyncio.get_running_loop()
                opened = self._loop.create_future()
                lifespan = self._loop.create_task(self._run_lifespan(opened))
                await opened
                self._lifespan = lifespan

    async def _run_lifespan(self, opened: asyncio.Future[None]) -> None:
        """Keep the lifespan open until SIGTERM, then end the process. `opened` gets any startup fault."""
        try:
            async with self._app.router.lifespan_context(self._app):
                self._uvicorn_handler = signal.getsignal(signal.SIGTERM)
                signal.signal(signal.SIGTERM, self._on_sigterm)
                opened.set_result(None)
                await self._sigterm.wait()
                await self._loop.run_in_executor(ThreadPoolExecutor(1), self._app.state.proxy.shutdown)
        except Exception as fault:
            if not opened.done():
                opened.set_exception(fault)
                return
            logger.exception("the proxy did not shut down cleanly")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not disturb the shutdown
        self._exit()

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        uvicorn_handler, self._uvicorn_handler = self._uvicorn_handler, signal.SIG_IGN  # forward only the first signal
        if uvicorn_handler is None:
            self._exit()
        self._loop.call_soon_threadsafe(self._sigterm.set)
        if callable(uvicorn_handler):
            uvicorn_handler(number, frame)

    def _exit(self) -> NoReturn:
        self._exiting = True
        raise SystemExit(0)  # through the worker, which sends the host the rest of its log

    def _skip_finalization(self) -> None:
        if self._exiting:
            logging.shutdown()
            os._exit(0)


class Handover(Response):
    """A Response that runs the inner app and forwards what it sends."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await tenant(scope, receive, send)


# The extension's server logs every URL, including function keys; the host logs each request itself.
logging.getLogger("uvicorn.access").addFilter(lambda record: False)
app = create_app()
if app.guards_connections:
    # the extension's server is made later, and takes the connection of this name
    uvicorn.config.HTTP_PROTOCOLS["auto"] = app.connection  # type: ignore[assignment]
tenant = Tenant(app)
functions = func.FunctionApp()


@functions.route("{*path}", auth_level=func.AuthLevel.FUNCTION)
async def proxy(req: Request) -> Response:
    return Handover()


@functions.route("health/{*path}", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def health(req: Request) -> Response:
    return Handover()
