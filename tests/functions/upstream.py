"""A scripted Azure OpenAI: each request becomes an Exchange, to which the test responds part by part."""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Self

from aiohttp import web

from tests.functions.worker import PATIENCE


class Exchange:
    """One request as it arrived, and control over its response."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._response = web.StreamResponse()
        self.method = request.method
        self.path_qs = request.raw_path
        self.headers = request.headers
        self.ended = asyncio.Event()
        self.abandoned = asyncio.Event()

    async def read(self) -> bytes:
        """The next part of the body, b"" at its end."""
        async with asyncio.timeout(PATIENCE):
            return await self._request.content.readany()

    async def start(self, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Send the response's head."""
        self._response = web.StreamResponse(status=status, headers=headers)
        await self._response.prepare(self._request)

    async def send(self, part: bytes) -> None:
        await self._response.write(part)

    async def end(self) -> None:
        await self._response.write_eof()
        self.ended.set()

    async def answer(self, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Send a complete response of known length."""
        await self.start(
            status, {"content-length": str(len(body)), "content-type": "application/json", **(headers or {})}
        )
        await self.send(body)
        await self.end()

    async def wait_abandoned(self) -> bool:
        """Wait until the proxy closes the connection before the end of the response: True, or TimeoutError."""
        async with asyncio.timeout(PATIENCE):
            return await self.abandoned.wait()

    async def serve(self) -> web.StreamResponse:
        try:
            await self.ended.wait()
        except asyncio.CancelledError:
            self.abandoned.set()
            raise
        return self._response


class Upstream(AbstractAsyncContextManager["Upstream"]):
    """Serves on `url` once entered; `next()` waits for a request."""

    def __init__(self) -> None:
        self._exchanges: asyncio.Queue[Exchange] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=0)
        application.router.add_route("*", "/{path:.*}", self._take)
        self._runner = web.AppRunner(application, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._runner.cleanup()

    async def next(self) -> Exchange:
        async with asyncio.timeout(PATIENCE):
            return await self._exchanges.get()

    async def _take(self, request: web.Request) -> web.StreamResponse:
        exchange = Exchange(request)
        self._exchanges.put_nowait(exchange)
        return await exchange.serve()
