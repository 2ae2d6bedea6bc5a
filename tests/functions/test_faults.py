"""What a fault inside the worker does, and does not do, to the calls after it."""

import aiohttp
import pytest

from tests.functions import chat
from tests.functions.conftest import StartHost, new_client
from tests.functions.host import FunctionsHost
from tests.functions.upstream import Upstream

pytestmark = pytest.mark.anyio


async def test_an_exception_leaves_the_connection_usable(
    client: aiohttp.ClientSession, host: FunctionsHost, upstream: Upstream
) -> None:
    """After an exception in the inner app the next call goes over the connection that the host has kept."""
    await chat.ask(client, upstream)
    connections = host.connections
    async with client.get("/openai/fail") as answer:
        assert answer.status == 500
        await answer.read()
    await chat.ask(client, upstream)
    assert host.connections == connections


async def test_an_answer_that_fails_midway_is_cut(
    client: aiohttp.ClientSession, host: FunctionsHost, upstream: Upstream
) -> None:
    """An exception in the middle of an answer breaks it off, so nobody takes it for a whole one."""
    async with client.get("/openai/fail/midway") as answer:
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    await chat.ask(client, upstream)


async def test_a_lifespan_that_fails_is_tried_again(new_host: StartHost, upstream: Upstream) -> None:
    """A fault at the first opening of the lifespan fails that call, and the next call opens it."""
    async with new_host(OPENING="fails") as host, new_client(host) as client:
        async with client.get("/health/live") as answer:
            assert answer.status == 500
            assert set((await answer.json())["error"]) == {"message", "type", "code", "param"}
        await chat.ask(client, upstream)
