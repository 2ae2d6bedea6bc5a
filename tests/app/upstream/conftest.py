"""A pool on the test's own loop."""

from collections.abc import AsyncIterator

import pytest

from app.upstream import Answer, Origin, Pool, Request
from app.upstream.connection import Body


class Asking:
    """Sends requests over a pool of its own."""

    def __init__(self) -> None:
        self.pool = Pool()

    async def __call__(
        self,
        url: str,
        method: str = "POST",
        body: Body = b"{}",
        length: int | None = None,
        headers: list[tuple[bytes, bytes]] | None = None,
    ) -> Answer:
        return await self.pool.request(Origin.of(url), Request(method, "/a", headers or [], body, length))


@pytest.fixture
async def ask() -> AsyncIterator[Asking]:
    asking = Asking()
    yield asking
    await asking.pool.close()


async def whole(answer: Answer) -> bytes:
    """The body up to its end."""
    body = b""
    while more := await answer.readany():
        body += more
    return body
