"""How a worker shuts down on SIGTERM. The only times here are the limits that the proxy promises."""

import asyncio
import uuid
from pathlib import Path

import aiohttp
import pytest

from tests.functions import chat
from tests.functions.conftest import SHUTDOWN_SECONDS, StartHost, new_client, records_of
from tests.functions.host import FunctionsHost
from tests.functions.upstream import Upstream
from tests.functions.worker import PATIENCE
from tests.kit.altered import NO_SIGTERM
from tests.kit.hub import Broker, spooled
from tests.kit.proxy import A_LITTLE_S

pytestmark = pytest.mark.anyio


async def end(host: FunctionsHost) -> int:
    """The exit code of a worker after SIGTERM, within the limit."""
    async with asyncio.timeout(SHUTDOWN_SECONDS + max(A_LITTLE_S, 3 * host.started_in)):
        return await host.worker.exit_code()


async def test_sigterm_during_startup(new_host: StartHost, upstream: Upstream) -> None:
    """SIGTERM while the first request waits for startup ends the worker once that request is served."""
    settings = {"OPENING": "SIGTERM", "PROXY_SHUTDOWN_SECONDS": str(PATIENCE)}
    async with new_host(**settings) as host, new_client(host) as client:
        await chat.ask(client, upstream)
        assert await host.worker.exit_code() == 0


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_records_are_delivered(new_host: StartHost, upstream: Upstream, broker: Broker, loop: str) -> None:
    """When the worker has exited with 0, on either event loop, the hub has every record."""
    trace_id = uuid.uuid4().hex
    async with new_host(loop=loop, PROXY_SHUTDOWN_SECONDS=str(PATIENCE)) as host, new_client(host) as client:
        await chat.ask(client, upstream, chat.in_trace(trace_id))
        host.worker.process.terminate()
        assert await host.worker.exit_code() == 0
    assert [record["status"] for record in await records_of(broker, trace_id)] == ["completed"]


async def test_uvicorn_leaves_sigterm_alone(new_host: StartHost, upstream: Upstream, broker: Broker) -> None:
    """With a uvicorn that ignores SIGTERM the worker reports it, delivers its records and exits with 0."""
    trace_id = uuid.uuid4().hex
    settings = {"PROXY_SHUTDOWN_SECONDS": str(PATIENCE), **NO_SIGTERM.environ}
    async with new_host(**settings) as host, new_client(host) as client:
        await chat.ask(client, upstream, chat.in_trace(trace_id))
        async with client.get("/health/ready") as answer:
            assert list((await answer.json())["shortcuts_off"]) == ["shutdown"]
        host.worker.process.terminate()
        assert await host.worker.exit_code() == 0
    assert [record["status"] for record in await records_of(broker, trace_id)] == ["completed"]


async def test_an_unreachable_hub(
    new_host: StartHost, upstream: Upstream, tmp_path: Path, unreachable_hub: str
) -> None:
    """Without a hub the worker still exits in time, and the record stays in the spool."""
    trace_id = uuid.uuid4().hex
    async with new_host(AZURE_EVENTHUB_CONN_STR=unreachable_hub, PROXY_SPOOL_DIR=str(tmp_path)) as host:
        async with new_client(host) as client:
            await chat.ask(client, upstream, chat.in_trace(trace_id))
        host.worker.process.terminate()
        assert await end(host) == 0
    assert [record["status"] for record in spooled(tmp_path)] == ["completed"]


@pytest.mark.parametrize("asked", [False, True])
async def test_interpreter_finalization_is_skipped(new_host: StartHost, upstream: Upstream, asked: bool) -> None:
    """A crash in finalization, which running threads can cause, does not fail the exit, with or without a request."""
    async with new_host(TEARDOWN="crashes") as host:
        if asked:
            async with new_client(host) as client:
                await chat.ask(client, upstream)
        host.worker.process.terminate()
        assert await end(host) == 0


async def test_an_open_stream_may_finish(new_host: StartHost, upstream: Upstream) -> None:
    """A stream that ends after SIGTERM and before the limit arrives complete; then the worker exits without waiting."""
    never = str(10 * PATIENCE)
    async with new_host(PROXY_SHUTDOWN_SECONDS=never) as host, new_client(host) as client:
        async with chat.stream(client, upstream) as stream:
            await stream.pass_on(chat.EVENTS[0])
            host.worker.process.terminate()
            await host.worker.wait_for("Shutting down")
            for event in chat.EVENTS[1:]:
                await stream.pass_on(event)
            await stream.end()
        assert await host.worker.exit_code() == 0


async def test_an_endless_stream_is_cut_off(
    new_host: StartHost, upstream: Upstream, tmp_path: Path, unreachable_hub: str
) -> None:
    """A stream still open at the limit is cut off for client and upstream, however often SIGTERM arrives."""
    trace_id = uuid.uuid4().hex
    async with new_host(AZURE_EVENTHUB_CONN_STR=unreachable_hub, PROXY_SPOOL_DIR=str(tmp_path)) as host:
        async with new_client(host) as client, chat.stream(client, upstream, chat.in_trace(trace_id)) as stream:
            await stream.pass_on(chat.EVENTS[0])
            host.worker.process.terminate()
            await host.worker.wait_for("Shutting down")
            host.worker.process.terminate()
            with pytest.raises(aiohttp.ClientPayloadError):
                await stream.answer.content.read()
            await stream.exchange.wait_abandoned()
        assert await end(host) == 0
    (record,) = spooled(tmp_path)
    assert (record["status"], record["content"]) == ("interrupted", "0")


async def test_a_client_that_stops_reading(new_host: StartHost, upstream: Upstream) -> None:
    """A client that stops reading, with megabytes in flight to it, does not keep the worker alive."""
    async with new_host() as host, new_client(host) as client, chat.stream(client, upstream) as stream:
        flood = asyncio.create_task(stream.exchange.send(b"data: %s\n\n" % (b"." * 2**20) * 64))
        await stream.answer.content.readexactly(1)
        host.worker.process.terminate()
        assert await end(host) == 0
        flood.cancel()
