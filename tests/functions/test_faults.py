"""What a fault inside the worker does, and does not do, to the calls after it."""

import aiohttp
import pytest

from tests.functions import chat
from tests.functions.host import FunctionsHost
from tests.functions.upstream import Upstream

pytestmark = pytest.mark.anyio


async def test_an_exception_leaves_the_connection_usable(
    client: aiohttp.ClientSession, host: FunctionsHost, upstream: Upstream
) -> None:
    """After an exception in the inner app the next call goes over the connection that the host has kept."""
    await chat.ask(client, upstream)
    connections = host.connections
    async with client.get("/fail") as answer:
        assert answer.status == 500
        await answer.read()
    await chat.ask(client, upstream)
    assert host.connections == connections


async def test_an_answer_that_fails_midway_is_cut(
    client: aiohttp.ClientSession, host: FunctionsHost, upstream: Upstream
) -> None:
    """An exception in the middle of an answer breaks it off, so nobody takes it for a whole one."""
    async with client.get("/fail/midway") as answer:
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    await chat.ask(client, upstream)
