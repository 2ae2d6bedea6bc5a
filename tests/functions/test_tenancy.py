"""The inner app inside the extension's: the scope it gets, and when its lifespan is opened."""

import asyncio
import json
import signal

import aiohttp
import pytest

from tests.functions import chat
from tests.functions.conftest import StartHost, new_client
from tests.functions.host import FunctionsHost
from tests.functions.upstream import Upstream

pytestmark = pytest.mark.anyio

ASGI_KEYS = {"type", "asgi", "http_version", "method", "scheme", "path", "raw_path", "query_string", "root_path"}
ASGI_KEYS |= {"headers", "client", "server"}


async def test_the_inner_scope_has_only_asgi_keys(client: aiohttp.ClientSession, host: FunctionsHost) -> None:
    """It gets the keys of the ASGI specification, and nothing that the outer app added."""
    async with client.get("/health/live") as answer:
        assert answer.status == 200
    await host.worker.wait_for("scope [")
    for line in host.worker.lines_with("scope ["):
        assert set(json.loads(line.removeprefix("scope "))) == ASGI_KEYS


async def test_the_lifespan_is_opened_once(new_host: StartHost) -> None:
    """Requests that arrive while the first one opens the lifespan wait for it, and are then served."""
    async with new_host(OPENING="waits") as host, new_client(host) as client:
        calls = [asyncio.create_task(client.get("/health/live")) for _ in range(3)]
        await host.worker.wait_for("waiting")
        await host.worker.wait_for("Sending HTTP response for invocation", len(calls))
        host.worker.process.send_signal(signal.SIGUSR1)
        for call in calls:
            async with await call as answer:
                assert answer.status == 200
        assert len(host.worker.lines_with("opening")) == 1


async def test_a_failed_lifespan_is_retried(new_host: StartHost, upstream: Upstream) -> None:
    """If opening the lifespan fails, so does that call, and the next call opens it."""
    async with new_host(OPENING="fails") as host, new_client(host) as client:
        async with client.get("/health/live") as answer:
            assert answer.status == 500
            assert set((await answer.json())["error"]) == {"message", "type", "code", "param"}
        await chat.ask(client, upstream)
