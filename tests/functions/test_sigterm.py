"""How a worker ends on SIGTERM. Clocks appear here only as the limit that the proxy promises to keep."""

import asyncio
import json
import uuid
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dev.event_hubs.process import BrokerProcess
from tests.functions import chat
from tests.functions.conftest import SHUTDOWN_SECONDS, StartHost, new_client, records_of
from tests.functions.host import FunctionsHost
from tests.functions.upstream import Upstream
from tests.functions.worker import PATIENCE
from tests.kit.altered import NO_SIGTERM
from tests.kit.proxy import A_LITTLE_S

pytestmark = pytest.mark.anyio

NO_HUB = (
    "Endpoint=sb://127.0.0.1:1;SharedAccessKeyName=send;SharedAccessKey=aHVi;UseDevelopmentEmulator=true;EntityPath=x"
)


async def end(host: FunctionsHost) -> int:
    """The exit code of a worker that has been told to end, within the limit."""
    async with asyncio.timeout(SHUTDOWN_SECONDS + max(A_LITTLE_S, 3 * host.started_in)):
        return await host.worker.exit_code()


async def test_a_worker_that_has_served_nothing(new_host: StartHost) -> None:
    """SIGTERM before the first request ends the worker with exit code 0."""
    async with new_host() as host:
        host.worker.process.terminate()
        assert await end(host) == 0


async def test_sigterm_in_the_middle_of_the_start(new_host: StartHost, upstream: Upstream) -> None:
    """SIGTERM while the first request still waits for the start ends the worker when that request is served."""
    settings = {"OPENING": "SIGTERM", "PROXY_SHUTDOWN_SECONDS": str(PATIENCE)}
    async with new_host(**settings) as host, new_client(host) as client:
        await chat.ask(client, upstream)
        assert await host.worker.exit_code() == 0


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_records_are_delivered(new_host: StartHost, upstream: Upstream, hub: BrokerProcess, loop: str) -> None:
    """When the worker has ended, with exit code 0 and on either event loop, the hub has every record."""
    trace_id = uuid.uuid4().hex
    async with new_host(loop=loop, PROXY_SHUTDOWN_SECONDS=str(PATIENCE)) as host, new_client(host) as client:
        await chat.ask(client, upstream, chat.in_trace(trace_id))
        host.worker.process.terminate()
        assert await host.worker.exit_code() == 0
    assert [record["status"] for record in await records_of(hub, trace_id)] == ["completed"]


async def test_uvicorn_leaves_sigterm_alone(new_host: StartHost, upstream: Upstream, hub: BrokerProcess) -> None:
    """Such a uvicorn is not the one that we know: the worker says so, and ends as any other, its records delivered."""
    trace_id = uuid.uuid4().hex
    settings = {"PROXY_SHUTDOWN_SECONDS": str(PATIENCE), **NO_SIGTERM.environ}
    async with new_host(**settings) as host, new_client(host) as client:
        await chat.ask(client, upstream, chat.in_trace(trace_id))
        async with client.get("/health/ready") as answer:
            assert list((await answer.json())["shortcuts_off"]) == ["shutdown"]
        host.worker.process.terminate()
        assert await host.worker.exit_code() == 0
    assert [record["status"] for record in await records_of(hub, trace_id)] == ["completed"]


async def test_the_hub_is_away(new_host: StartHost, upstream: Upstream, tmp_path: Path) -> None:
    """Without a hub the worker ends in time all the same, and the record stays in the spool."""
    trace_id = uuid.uuid4().hex
    async with new_host(AZURE_EVENTHUB_CONN_STR=NO_HUB, PROXY_SPOOL_DIR=str(tmp_path)) as host:
        async with new_client(host) as client:
            await chat.ask(client, upstream, chat.in_trace(trace_id))
        host.worker.process.terminate()
        assert await end(host) == 0
    assert [record["status"] for record in spooled(tmp_path, trace_id)] == ["completed"]


@pytest.mark.parametrize("asked", [False, True])
async def test_the_interpreter_is_not_taken_apart(new_host: StartHost, upstream: Upstream, asked: bool) -> None:
    """What crashes when a Python process ends, as threads still at work can, makes no failure of a clean end."""
    async with new_host(TEARDOWN="crashes", PROXY_SHUTDOWN_SECONDS=str(PATIENCE)) as host:
        if asked:
            async with new_client(host) as client:
                await chat.ask(client, upstream)
        host.worker.process.terminate()
        assert await host.worker.exit_code() == 0


async def test_an_open_stream_may_end_by_itself(new_host: StartHost, upstream: Upstream) -> None:
    """A stream that ends after SIGTERM and before the limit is delivered whole; then the worker ends at once."""
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


async def test_a_stream_that_never_ends_is_cut(new_host: StartHost, upstream: Upstream, tmp_path: Path) -> None:
    """A stream still open at the limit is cut for client and upstream, however often SIGTERM comes."""
    trace_id = uuid.uuid4().hex
    async with new_host(AZURE_EVENTHUB_CONN_STR=NO_HUB, PROXY_SPOOL_DIR=str(tmp_path)) as host:
        async with new_client(host) as client, chat.stream(client, upstream, chat.in_trace(trace_id)) as stream:
            await stream.pass_on(chat.EVENTS[0])
            host.worker.process.terminate()
            await host.worker.wait_for("Shutting down")
            host.worker.process.terminate()
            with pytest.raises(aiohttp.ClientPayloadError):
                await stream.answer.content.read()
            await stream.exchange.wait_abandoned()
        assert await end(host) == 0
    (record,) = spooled(tmp_path, trace_id)
    assert (record["status"], record["content"]) == ("interrupted", "0")


async def test_a_client_that_does_not_read(new_host: StartHost, upstream: Upstream) -> None:
    """A client that has stopped reading, with megabytes on their way to it, cannot keep the worker alive."""
    async with new_host() as host, new_client(host) as client, chat.stream(client, upstream) as stream:
        flood = asyncio.create_task(stream.exchange.send(b"data: %s\n\n" % (b"." * 2**20) * 64))
        await stream.answer.content.readexactly(1)
        host.worker.process.terminate()
        assert await end(host) == 0
        flood.cancel()


def spooled(directory: Path, trace_id: str) -> list[dict[str, Any]]:
    """The records of one trace that a worker has left on disk."""
    lines = [line for file in directory.rglob("*.ndjson") for line in file.read_text().splitlines()]
    return [record for record in map(json.loads, lines) if record["trace_id"] == trace_id]
