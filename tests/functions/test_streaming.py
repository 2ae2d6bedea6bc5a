"""Streaming between client and upstream, in both directions."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.functions import chat
from tests.functions.upstream import Upstream

pytestmark = pytest.mark.anyio


async def test_each_event_arrives_before_the_next_is_sent(client: aiohttp.ClientSession, upstream: Upstream) -> None:
    """The client has each event before upstream sends the next one: nothing is buffered."""
    async with chat.stream(client, upstream) as stream:
        for event in chat.EVENTS:
            assert await stream.pass_on(event) == event
        await stream.end()


async def test_each_part_of_an_upload_arrives_before_the_next_is_sent(
    client: aiohttp.ClientSession, upstream: Upstream
) -> None:
    """Upstream has each part of an upload before the client sends the next one."""
    arrived = asyncio.Semaphore(0)
    parts = [b"part %d;" % number * 1000 for number in range(5)]

    async def upload() -> AsyncIterator[bytes]:
        for part in parts:
            yield part
            await arrived.acquire()

    headers = {"content-type": "application/octet-stream"}
    call = asyncio.create_task(client.post("/openai/v1/files", data=upload(), headers=headers))
    exchange = await upstream.next()
    for part in parts:
        got = b""
        while len(got) < len(part):
            got += await exchange.read()
        assert got == part
        arrived.release()
    assert await exchange.read() == b""
    await exchange.answer(b'{"id": "file-1"}')
    async with await call as answer:
        assert await answer.read() == b'{"id": "file-1"}'


async def test_status_headers_and_bytes_pass_unchanged(client: aiohttp.ClientSession, upstream: Upstream) -> None:
    """Path, query, headers and bytes reach upstream; its status, headers and bytes reach the client,
    date and server not twice."""
    headers = {"x-ms-client-request-id": "client-1", "accept": "application/json; q=0.5", **chat.JSON}
    call = asyncio.create_task(client.post(chat.PATH + chat.QUERY, data=chat.QUESTION, headers=headers))
    exchange = await upstream.next()
    assert exchange.method == "POST"
    assert exchange.path_qs == chat.PATH + chat.QUERY
    assert headers.items() <= {name.lower(): value for name, value in exchange.headers.items()}.items()
    assert await exchange.read() == chat.QUESTION
    upstreams = {"x-ms-region": "Sweden Central", "retry-after": "7"}
    upstreams |= {"date": "Mon, 01 Jan 2024 00:00:00 GMT", "server": "upstream"}
    refusal = b'{"error": {"code": "429", "message": "Slow  down"}}'
    await exchange.answer(refusal, status=429, headers=upstreams)
    async with await call as answer:
        assert answer.status == 429
        for name, value in upstreams.items():
            assert answer.headers.getall(name) == [value]
        assert await answer.read() == refusal


async def test_a_client_disconnect_cancels_upstream(client: aiohttp.ClientSession, upstream: Upstream) -> None:
    """If the client disconnects in the middle of a stream, the connection to upstream is closed too."""
    async with chat.stream(client, upstream) as stream:
        await stream.pass_on(chat.EVENTS[0])
        assert not stream.exchange.abandoned.is_set()
    assert await stream.exchange.wait_abandoned()
