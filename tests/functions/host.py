"""A stand-in for the Functions host: indexes the app in a worker, checks keys, and forwards requests to it.

Like the real one it reads routes and levels from the indexed bindings, prefers the more literal route,
requires a function key (`?code=` or `x-functions-key`) where the level is FUNCTION, sends the request unchanged
to the worker's HttpUri with `x-ms-invocation-id` and the invocation beside it, and streams both ways over kept
connections. proxy_worker.py defines its JSON lines, which replace gRPC.
"""

import asyncio
import json
import re
import time
import uuid
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from tests.functions.worker import Worker

FUNCTION_KEY = "function-key-4f1d"
NOT_GUESSED = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")  # aiohttp would add these


@dataclass(frozen=True)
class Function:
    """One indexed function as its trigger binding describes it."""

    name: str
    id: str
    route: str
    level: str
    methods: frozenset[str]

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> Self:
        bindings = map(json.loads, metadata["raw_bindings"])
        trigger = next(binding for binding in bindings if binding["type"] == "httpTrigger")
        methods = frozenset(trigger.get("methods", ()))
        return cls(metadata["name"], metadata["function_id"], trigger["route"], trigger["authLevel"], methods)

    def match(self, method: str, path: str) -> dict[str, str] | None:
        """The route's values if the function serves this request; a binding without methods accepts all."""
        pattern = re.escape(self.route).replace(r"\{\*path\}", "(?P<path>.*)")
        match = re.fullmatch(pattern, path.lstrip("/"))
        return match.groupdict() if match and (not self.methods or method in self.methods) else None


class FunctionsHost(AbstractAsyncContextManager["FunctionsHost"]):
    """A host with one worker; serves on `url` once entered, or once specialised if it had no app."""

    def __init__(self, worker: Worker, app_directory: Path) -> None:
        self.worker = worker
        self._app_directory = app_directory
        self._stack = AsyncExitStack()
        self.capabilities: dict[str, str] = {}
        self.metadata: list[dict[str, Any]] = []
        self.functions: list[Function] = []
        self.connections = 0
        """Connections opened to the worker so far."""

    async def __aenter__(self) -> Self:
        began = time.monotonic()
        await self._stack.enter_async_context(self.worker)
        init = {"function_app_directory": str(self._app_directory), "capabilities": {}}
        await self._begin(await self.worker.ask("worker_init_request", **init))
        self.started_in = time.monotonic() - began
        """Seconds: a measure of how busy the machine is."""
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._stack.aclose()

    async def specialise(self, app_directory: Path, environment: Mapping[str, str]) -> None:
        """Give an app and its environment to a worker that was started without one."""
        app = {"function_app_directory": str(app_directory), "environment_variables": dict(environment)}
        await self._begin(await self.worker.ask("function_environment_reload_request", **app))

    async def _begin(self, started: dict[str, Any]) -> None:
        """Continue after the worker's response to init or specialisation: index, load each function, and serve."""
        result = started["result"]
        assert result["status"] == 1, result["exception"]["message"]
        self.capabilities = started["capabilities"]
        answer = await self.worker.ask("functions_metadata_request")
        self.metadata = answer["function_metadata_results"] or []
        functions = map(Function.from_metadata, self.metadata)
        self.functions = sorted(functions, key=lambda function: len(function.route), reverse=True)
        for function in self.functions:
            loaded = await self.worker.ask("function_load_request", function_id=function.id)
            assert loaded["function_id"] == function.id
        if self.functions:
            await self.worker.wait_for("Uvicorn running on")
            await self._serve()

    async def _serve(self) -> None:
        counting = aiohttp.TraceConfig()
        counting.on_connection_create_end.append(self._count)
        self._session = await self._stack.enter_async_context(
            aiohttp.ClientSession(
                auto_decompress=False,
                skip_auto_headers=NOT_GUESSED,
                timeout=aiohttp.ClientTimeout(),
                trace_configs=[counting],
            )
        )
        application = web.Application(client_max_size=0)
        application.router.add_route("*", "/{path:.*}", self._forward)
        runner = web.AppRunner(application, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = URL(f"http://127.0.0.1:{runner.addresses[0][1]}")

    async def _count(self, *_: object) -> None:
        self.connections += 1

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        for function in self.functions:
            values = function.match(request.method, request.path)
            if values is not None:
                break
        else:
            return web.Response(status=404)
        keys = {request.query.get("code"), request.headers.get("x-functions-key")}
        if function.level == "FUNCTION" and FUNCTION_KEY not in keys:
            return web.Response(status=401)
        invocation_id = str(uuid.uuid4())
        invocation = asyncio.create_task(
            self.worker.ask(
                "invocation_request",
                invocation_id=invocation_id,
                function_id=function.id,
                method=request.method,
                url=str(request.url.with_query(None)),
                params=values,
            )
        )
        async with self._session.request(
            request.method,
            URL(self.capabilities["HttpUri"] + request.raw_path, encoded=True),
            headers=[*end_to_end(request.headers), ("x-ms-invocation-id", invocation_id)],
            data=request.content if request.body_exists else None,
            allow_redirects=False,
        ) as answer:
            headers = CIMultiDict(end_to_end(answer.headers))
            response = web.StreamResponse(status=answer.status, headers=headers)
            await response.prepare(request)
            async for part in answer.content.iter_any():
                await response.write(part)
        assert (await invocation)["result"]["status"] == 1
        return response


def end_to_end(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """All headers that are not hop-by-hop (RFC 9110 §7.6.1), including repeated ones."""
    hop_by_hop = {"connection", "transfer-encoding"}
    return [(name, value) for name, value in headers.items() if name.lower() not in hop_by_hop]
