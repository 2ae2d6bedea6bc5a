"""How a worker ends on SIGTERM. Clocks appear here only as the limit that the proxy promises to keep."""

import asyncio
from contextlib import AsyncExitStack

import aiohttp
import pytest

from tests.functions import chat
from tests.functions.conftest import SHUTDOWN_SECONDS, StartHost, new_client
from tests.functions.host import FunctionsHost
from tests.functions.upstream import Upstream
from tests.functions.worker import PATIENCE

pytestmark = pytest.mark.anyio

A_LITTLE = 5.0  # seconds on top of PROXY_SHUTDOWN_SECONDS: 15 in all at the default of 10


async def end(host: FunctionsHost) -> int:
    """The exit code of a worker that has been told to end, within the limit."""
    async with asyncio.timeout(SHUTDOWN_SECONDS + A_LITTLE):
        return await host.worker.exit_code()


async def test_a_worker_that_has_served_nothing(new_host: StartHost) -> None:
    """SIGTERM before the first request ends the worker with exit code 0."""
    async with new_host() as host:
        host.worker.process.terminate()
        assert await end(host) == 0


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_an_idle_worker(new_host: StartHost, upstream: Upstream, loop: str) -> None:
    """SIGTERM between requests ends the worker with exit code 0, on either event loop."""
    async with new_host(loop=loop) as host, new_client(host) as client:
        await chat.ask(client, host.url, upstream)
        host.worker.process.terminate()
        assert await end(host) == 0


async def test_an_open_stream_may_end_by_itself(new_host: StartHost, upstream: Upstream) -> None:
    """A stream that ends after SIGTERM and before the limit is delivered whole, and the worker then exits."""
    beyond_patience = str(10 * PATIENCE)
    async with new_host(PROXY_SHUTDOWN_SECONDS=beyond_patience) as host, new_client(host) as client:
        stream = await chat.Stream.begin(client, upstream)
        await stream.pass_on(chat.EVENTS[0])
        host.worker.process.terminate()
        await host.worker.line("Shutting down")
        for event in chat.EVENTS[1:]:
            await stream.pass_on(event)
        await stream.end()
        assert await host.worker.exit_code() == 0


async def test_a_stream_that_never_ends_is_cut(new_host: StartHost, upstream: Upstream) -> None:
    """A stream still open at the limit is cut for client and upstream, however often SIGTERM comes."""
    async with new_host() as host, new_client(host) as client:
        stream = await chat.Stream.begin(client, upstream)
        await stream.pass_on(chat.EVENTS[0])
        host.worker.process.terminate()
        await host.worker.line("Shutting down")
        host.worker.process.terminate()
        with pytest.raises(aiohttp.ClientPayloadError):
            await stream.answer.content.read()
        await stream.exchange.wait_abandoned()
        assert await end(host) == 0


async def test_a_client_that_does_not_read(new_host: StartHost, upstream: Upstream) -> None:
    """A client that has stopped reading, with megabytes on their way to it, cannot keep the worker alive."""
    async with AsyncExitStack() as stack:
        host = await stack.enter_async_context(new_host())
        client = await stack.enter_async_context(new_client(host))
        stream = await chat.Stream.begin(client, upstream)
        flood = asyncio.create_task(stream.exchange.send(b"data: {}\n\n" * 2**23))
        await stream.answer.content.readexactly(1)
        host.worker.process.terminate()
        assert await end(host) == 0
        flood.cancel()
        stream.answer.close()
