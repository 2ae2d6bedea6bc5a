"""Scripts of many tests' upstreams: stream events, or respond with a chat completion."""

from collections.abc import Callable
from typing import Any

from tests.kit.upstream import Reply, Script, Seen
from tests.kit.wire import AZURE_HEADERS, chat_json


def streaming(events: list[bytes], then: Callable[[Reply], Any] = Reply.end) -> Script:
    """Sends each event as its own chunk, then ends the response, or calls `then`."""

    async def script(request: Seen, reply: Reply) -> None:
        await reply.stream_head(**AZURE_HEADERS)
        for one in events:
            await reply.chunk(one)
        await then(reply)

    return script


async def answering(request: Seen, reply: Reply) -> None:
    """Responds with a chat completion in JSON."""
    await reply.json(chat_json(), headers=AZURE_HEADERS)
