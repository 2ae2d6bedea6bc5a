"""HTTP/1.0: a `send` that frames a response as its clients can read it."""

from collections.abc import Awaitable, Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


def unframed(cycle: RequestResponseCycle) -> Callable[[Any], Awaitable[None]]:
    """A `send` for HTTP/1.0, which knows no chunks: a body without a length ends with the connection."""
    measured = True

    async def send(message: Any) -> None:
        nonlocal measured
        if message["type"] == "http.response.start":
            measured = any(name == b"content-length" for name, _ in message.get("headers", ()))
            if not measured:
                cycle.chunked_encoding = False
        elif not measured:
            cycle.expected_content_length = len(message.get("body", b""))
        await RequestResponseCycle.send(cycle, message)

    return send
