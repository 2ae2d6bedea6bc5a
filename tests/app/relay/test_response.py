"""RelayedResponse: a chunk is sent before it is read."""

import asyncio
from typing import Any

from starlette.types import Message

from app.relay.held import UpstreamResponse
from app.relay.response import RelayedResponse
from app.upstream import Answer
from otel.call import Call

FIRST, SECOND = b'data: {"choices":[]}\n\n', b"data: [DONE]\n\n"


def test_a_chunk_is_sent_before_it_is_read() -> None:
    """The reader gets a chunk after the client."""
    sent: list[bytes] = []
    sent_before_read: list[list[bytes]] = []

    class Reader:
        """Notes what had been sent when it got a chunk."""

        def feed(self, chunk: bytes) -> None:
            sent_before_read.append(list(sent))

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
    assert sent_before_read == [[b"", FIRST], [b"", FIRST, SECOND]]
