"""The Azure Functions entry: two functions, each of which answers a request by running the app of app.main.

The http-fastapi extension has a server of its own and asks a function for a Response; ours runs the inner app
when it is called, so bytes pass both ways as they come. (AsgiFunctionApp would hold the whole answer back.)
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
    - SIGTERM is taken twice. Uvicorn takes it over when it starts, waits for its connections without a limit, and
      only then raises it for the handler that it found: the one from import, enough for a worker that has served
      nothing. Once the lifespan is open ours goes before uvicorn's, and starts the end while streams still run.
    - The end: `app.state.proxy.shutdown()`, which keeps its limit whatever the streams do, in a thread, so that
      the loop goes on and streams with it; then the lifespan is left, and the process exits with 0. It spares itself
      the taking apart of its interpreter, in which CPython 3.13 can crash while a thread lives that nobody joins.
    """

    def __init__(self, app: Starlette) -> None:
        self._app = app
        self._opening = asyncio.Lock()
        self._lifespan: asyncio.Task[None] | None = None
        self._uvicorns: Callable[[int, FrameType | None], object] | int | None = None
        self._sigterm = asyncio.Event()
        self._over = False
        atexit.register(self._leave)
        signal.signal(signal.SIGTERM, self._on_sigterm)

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
                signal.signal(signal.SIGTERM, self._on_sigterm)
                opened.set_result(None)
                await self._sigterm.wait()
                await self._loop.run_in_executor(ThreadPoolExecutor(1), self._app.state.proxy.shutdown)
        except Exception as fault:
            if not opened.done():
                opened.set_exception(fault)
                return
            logger.exception("The proxy did not shut down cleanly")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not disturb the end
        self._end()

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        uvicorns, self._uvicorns = self._uvicorns, signal.SIG_IGN  # pass it on once, however often it comes
        if uvicorns is None:
            self._end()
        self._loop.call_soon_threadsafe(self._sigterm.set)
        if callable(uvicorns):
            uvicorns(number, frame)

    def _end(self) -> NoReturn:
        self._over = True
        raise SystemExit(0)  # through the worker, which hands the host what is left of its log

    def _leave(self) -> None:
        if self._over:
            logging.shutdown()
            os._exit(0)


class Handover(Response):
    """A response that is whatever the inner app answers."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await tenant(scope, receive, send)


# The extension's server logs every URL, function keys included; the host logs each request by itself.
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
