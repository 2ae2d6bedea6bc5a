"""A fault inside the worker does not affect later calls."""

import aiohttp
import pytest

from tests.functions import chat
from tests.functions.host import FunctionsHost
from tests.functions.upstream import Upstream

pytestmark = pytest.mark.anyio


async def test_an_exception_leaves_the_connection_usable(
    client: aiohttp.ClientSession, host: FunctionsHost, upstream: Upstream
) -> None:
    """After an exception in the inner app the host reuses its connection for the next call."""
    await chat.ask(client, upstream)
    connections = host.connections
    async with client.get("/fail") as answer:
        assert answer.status == 500
        await answer.read()
    await chat.ask(client, upstream)
    assert host.connections == connections


async def test_a_response_that_fails_midway_is_cut_off(
    client: aiohttp.ClientSession, host: FunctionsHost, upstream: Upstream
) -> None:
    """The client can tell that the response is incomplete."""
    async with client.get("/fail/midway") as answer:
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    await chat.ask(client, upstream)
