"""A pool on the test's own loop."""

import asyncio
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


class Signal:
    """A semaphore between a script, which runs in its upstream's thread, and the test's loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._given = asyncio.Semaphore(0)

    def give(self) -> None:
        """For scripts and tests."""
        self._loop.call_soon_threadsafe(self._given.release)

    async def wait(self) -> None:
        """For tests."""
        await asyncio.wait_for(self._given.acquire(), 60)

    async def wait_in_script(self) -> None:
        """For scripts."""
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self.wait(), self._loop))


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
