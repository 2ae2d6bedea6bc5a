"""A pool on the test's own loop, and upstreams to connect to."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack

import pytest

from app.upstream import Answer, Origin, Pool, Request
from app.upstream.connection import Body
from tests.kit.upstream import Script, ScriptedUpstream

type Serve = Callable[[Script], ScriptedUpstream]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start an upstream; a script that fails fails the test."""
    with ExitStack() as stack:
        started: list[ScriptedUpstream] = []

        def start(script: Script) -> ScriptedUpstream:
            started.append(stack.enter_context(ScriptedUpstream(script)))
            return started[-1]

        yield start
    assert [failure for server in started for failure in server.failures] == []


class Asking:
    """A pool, asked in few words."""

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
