"""Answer.relay: what comes is passed on at once, in order, and no faster than it can be."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar

import pytest

from app.upstream import Answer, Disconnected

pytestmark = pytest.mark.anyio

type PassOn = Callable[[bytes], Coroutine[None, None, None]]


class Relayed:
    """An answer that is being relayed to `pass_on`, as its connection sees it."""

    def __init__(self, pass_on: PassOn) -> None:
        self.answer = Answer(200, [(b"x-ms-region", b"Sweden Central")], lambda paused: None, lambda: None)
        self.task = asyncio.create_task(self.answer.relay(pass_on))

    async def waits(self) -> "Relayed":
        """Once `relay` has begun, and waits for the next piece."""
        await asyncio.sleep(0)
        assert self.answer._pass_on is not None
        return self

    async def over(self) -> None:
        """Once it has ended, as it did."""
        await asyncio.wait_for(self.task, 60)

    def come(self, *pieces: bytes) -> None:
        """These came in one turn of the loop."""
        for piece in pieces:
            self.answer.feed(piece)
        self.answer.flush()


async def test_a_piece_is_passed_on_in_the_turn_in_which_it_came() -> None:
    """And what came together is passed on together."""
    passed = []

    async def pass_on(piece: bytes) -> None:
        passed.append(piece)

    relayed = await Relayed(pass_on).waits()
    assert not relayed.answer.headers  # a long stream holds them no longer than they are needed
    relayed.come(b"a")
    assert passed == [b"a"]
    relayed.come(b"b", b"c")
    assert passed == [b"a", b"bc"]
    relayed.answer.feed(b"d")
    relayed.answer.end()
    await relayed.over()
    assert passed == [b"a", b"bc", b"d"]


async def test_what_came_before_is_passed_on_first() -> None:
    passed = []

    async def pass_on(piece: bytes) -> None:
        passed.append(piece)

    relayed = Relayed(pass_on)
    relayed.come(b"a")
    relayed.come(b"b")
    await relayed.waits()
    relayed.come(b"c")
    assert passed == [b"ab", b"c"]
    relayed.answer.end()
    await relayed.over()


async def test_who_is_slow_gets_the_rest_in_order() -> None:
    """While a piece is being passed on, what comes waits."""
    passed, ready = [], asyncio.Event()

    async def pass_on(piece: bytes) -> None:
        await ready.wait()
        passed.append(piece)

    relayed = await Relayed(pass_on).waits()
    relayed.come(b"a")
    relayed.come(b"b")
    await asyncio.sleep(0)
    relayed.come(b"c")
    relayed.answer.end()
    assert passed == []
    ready.set()
    await relayed.over()
    assert passed == [b"a", b"bc"]


async def test_what_fails_in_passing_on_ends_the_relay() -> None:
    async def pass_on(piece: bytes) -> None:
        raise OSError("nobody listens")

    relayed = await Relayed(pass_on).waits()
    relayed.come(b"a")
    relayed.come(b"b")
    with pytest.raises(OSError, match="nobody listens"):
        await relayed.over()


async def test_what_came_before_upstream_broke_off_is_passed_on() -> None:
    passed = []

    async def pass_on(piece: bytes) -> None:
        passed.append(piece)

    relayed = await Relayed(pass_on).waits()
    relayed.answer.feed(b"a")
    relayed.answer.fail(Disconnected(stale=False))
    with pytest.raises(Disconnected):
        await relayed.over()
    assert passed == [b"a"]


@pytest.mark.parametrize("turns", [0, 1, 2])
async def test_who_is_cancelled_passes_nothing_on_any_more(turns: int) -> None:
    """Also what was being passed on is given up, whether or not the relay knew of it yet."""
    ends = []

    async def pass_on(piece: bytes) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ends.append(piece)

    relayed = await Relayed(pass_on).waits()
    relayed.come(b"a")
    for _ in range(turns):
        await asyncio.sleep(0)
    relayed.task.cancel()
    await asyncio.wait([relayed.task])
    await asyncio.sleep(0)
    relayed.come(b"b")
    assert ends == [b"a"]
    assert relayed.task.cancelled()


async def test_what_is_passed_on_belongs_to_the_call() -> None:
    """It runs in the context of the call, such as for the trace of what is logged, whoever's connection it came by."""
    name: ContextVar[str] = ContextVar("name", default="the connection")
    seen = []

    async def pass_on(piece: bytes) -> None:
        seen.append(name.get())

    token = name.set("the call")
    relayed = Relayed(pass_on)
    name.reset(token)
    await relayed.waits()
    relayed.come(b"a")
    assert seen == ["the call"]
    relayed.answer.end()
    await relayed.over()
