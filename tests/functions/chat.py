"""One chat call as these tests make it: its path, the client's question, and upstream's answer or events."""

import asyncio
from typing import Any

import aiohttp
from yarl import URL

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


async def ask(client: aiohttp.ClientSession, host: URL, upstream: Upstream, **headers: str) -> Exchange:
    """Make a whole call, and return it as upstream saw it."""
    url = host.join(URL(PATH + QUERY))
    call = asyncio.create_task(client.post(url, data=QUESTION, headers={**JSON, **headers}))
    exchange = await upstream.next()
    await exchange.answer(ANSWER)
    async with await call as answer:
        assert answer.status == 200
        assert await answer.read() == ANSWER
    return exchange


class Stream:
    """A streamed call, driven from both ends."""

    def __init__(self, exchange: Exchange, answer: aiohttp.ClientResponse) -> None:
        self.exchange = exchange
        self.answer = answer

    @classmethod
    async def begin(cls, client: aiohttp.ClientSession, upstream: Upstream, **headers: Any) -> "Stream":
        """Start a call up to the head of its answer."""
        call = asyncio.create_task(client.post(PATH + QUERY, data=STREAMED_QUESTION, headers={**JSON, **headers}))
        exchange = await upstream.next()
        await exchange.start(headers=EVENT_STREAM)
        return cls(exchange, await call)

    async def pass_on(self, event: bytes) -> None:
        """Let upstream send an event, and wait until the client has it."""
        await self.exchange.send(event)
        assert await self.answer.content.readexactly(len(event)) == event

    async def end(self) -> None:
        """Let upstream end the stream; the client sees the end."""
        await self.exchange.end()
        assert await self.answer.content.read() == b""
