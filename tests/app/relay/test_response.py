"""RelayedResponse: what is passed on goes before it is looked at."""

import asyncio
from typing import Any

from starlette.types import Message

from app.relay.attempts import UpstreamResponse
from app.relay.response import RelayedResponse
from app.upstream import Answer
from otel.call import Call

FIRST, SECOND = b'data: {"choices":[]}\n\n', b"data: [DONE]\n\n"


def test_a_chunk_is_sent_before_it_is_looked_at() -> None:
    sent: list[bytes] = []
    sent_when_looked_at: list[list[bytes]] = []

    class Reader:
        """In place of the one that parses: notes what had been sent."""

        def feed(self, chunk: bytes) -> None:
            sent_when_looked_at.append(list(sent))

    async def run() -> None:
        answer = Answer(200, [(b"content-type", b"text/event-stream")], lambda paused: None, lambda: None)

        async def send(message: Message) -> None:
            sent.append(message.get("body", b""))
            if message.get("body") == FIRST:
                answer.feed(SECOND)
                answer.end()

        answer.feed(FIRST)
        reader: Any = Reader()
        await RelayedResponse(UpstreamResponse(answer), Call("chat"), reader, "0" * 32).run(send)

    asyncio.run(run())
    assert sent_when_looked_at == [[b"", FIRST], [b"", FIRST, SECOND]]
