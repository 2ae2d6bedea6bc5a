"""One chat call as these tests make it: its path, the request's body, and upstream's response or events."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from tests.functions.upstream import Exchange, Upstream

PATH = "/openai/deployments/gpt-4o/chat/completions"
QUERY = "?api-version=2024-10-21"
QUESTION = b'{"messages":  [{"role": "user", "content": "Count."}]}'
STREAMED_QUESTION = b'{"stream": true, "messages": [{"role": "user", "content": "Count."}]}'
JSON = {"content-type": "application/json"}
EVENT_STREAM = {"content-type": "text/event-stream"}
ANSWER = b'{"model": "gpt-4o-2024-11-20", "choices": [{"index": 0, "message": {"content": "1, 2"}}]}'
EVENTS = [
    *(b'data: {"choices":[{"index":0,"delta":{"content":"%d"}}]}\n\n' % number for number in range(20)),
    b"data: [DONE]\n\n",
]


def in_trace(trace_id: str, span_id: str = "b7ad6b7169203331") -> dict[str, str]:
    """The header of a caller with this span."""
    return {"traceparent": f"00-{trace_id}-{span_id}-01"}


async def ask(client: aiohttp.ClientSession, upstream: Upstream, headers: dict[str, str] | None = None) -> Exchange:
    """Make a complete call, and return it as upstream saw it."""
    call = asyncio.create_task(client.post(PATH + QUERY, data=QUESTION, headers=JSON | (headers or {})))
    exchange = await upstream.next()
    await exchange.answer(ANSWER)
    async with await call as answer:
        assert answer.status == 200
        assert await answer.read() == ANSWER
    return exchange


class Stream:
    """A streamed call, controlled from both ends."""

    def __init__(self, exchange: Exchange, answer: aiohttp.ClientResponse) -> None:
        self.exchange = exchange
        self.answer = answer

    async def pass_on(self, event: bytes) -> bytes:
        """Send an event from upstream, and wait until the client has it; what the client has."""
        await self.exchange.send(event)
        received = await self.answer.content.readexactly(len(event))
        assert received == event
        return received

    async def end(self) -> None:
        """End the stream at upstream, and wait until it ends for the client, without another byte."""
        await self.exchange.end()
        assert await self.answer.content.read() == b""


@asynccontextmanager
async def stream(
    client: aiohttp.ClientSession, upstream: Upstream, headers: dict[str, str] | None = None
) -> AsyncIterator[Stream]:
    """Start a streamed call up to the response's head; on exit the client disconnects."""
    headers = JSON | (headers or {})
    call = asyncio.create_task(client.post(PATH + QUERY, data=STREAMED_QUESTION, headers=headers))
    exchange = await upstream.next()
    await exchange.start(headers=EVENT_STREAM)
    async with await call as answer:
        yield Stream(exchange, answer)
