"""A model for the doctor to call through a proxy."""

import asyncio
import json

from tests.kit.upstream import Reply
from tests.kit.upstream import Seen as Request
from tests.kit.wire import AZURE_HEADERS, DONE, STOP, USAGE, WORDS, chat_json, delta, event

CONTENT = [delta({"content": word}) for word in WORDS * 6]

EVENTS = [*CONTENT, STOP, event({"choices": [], "usage": USAGE}), DONE]


async def model(request: Request, reply: Reply, seconds: float = 0.01) -> None:
    """Responds like a model that takes this many seconds per token."""
    if request.method == "GET":
        await reply.json(b'{"data":[]}')
    elif not json.loads(request.body).get("stream"):
        await reply.json(chat_json(), headers=AZURE_HEADERS)
    else:
        await reply.stream_head(**AZURE_HEADERS)
        for one in EVENTS:
            await asyncio.sleep(seconds)
            await reply.chunk(one)
        await reply.end()
