"""How the inner app lives in the extension's: what it is given, and when its lifespan is opened."""

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


async def test_the_scope_is_fresh(client: aiohttp.ClientSession, host: FunctionsHost) -> None:
    """The inner app gets the keys of the ASGI specification, and nothing that the outer app has put beside them."""
    async with client.get("/health/live") as answer:
        assert answer.status == 200
    await host.worker.wait_for("scope [")
    for line in host.worker.lines_with("scope ["):
        assert set(json.loads(line.removeprefix("scope "))) == ASGI_KEYS


async def test_the_lifespan_is_opened_once(new_host: StartHost) -> None:
    """Requests that arrive while the first one still opens the lifespan wait for it, and then are all served."""
    async with new_host(OPENING="waits") as host, new_client(host) as client:
        calls = [asyncio.create_task(client.get("/health/live")) for _ in range(3)]
        await host.worker.wait_for("waiting")
        await host.worker.wait_for("Sending HTTP response for invocation", len(calls))
        host.worker.process.send_signal(signal.SIGUSR1)
        for call in calls:
            async with await call as answer:
                assert answer.status == 200
        assert len(host.worker.lines_with("opening")) == 1


async def test_a_lifespan_that_fails_is_tried_again(new_host: StartHost, upstream: Upstream) -> None:
    """A fault at the first opening of the lifespan fails that call, and the next call opens it."""
    async with new_host(OPENING="fails") as host, new_client(host) as client:
        async with client.get("/health/live") as answer:
            assert answer.status == 500
            assert set((await answer.json())["error"]) == {"message", "type", "code", "param"}
        await chat.ask(client, upstream)
