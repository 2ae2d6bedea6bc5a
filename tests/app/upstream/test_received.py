"""Answer.relay: passes pieces on immediately, in order, and no faster than the receiver takes them."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar

import pytest

from app.upstream import Answer, Disconnected

pytestmark = pytest.mark.anyio

type PassOn = Callable[[bytes], Coroutine[None, None, None]]


class Relayed:
    """An answer being relayed to `pass_on`, or else into `passed`, from the connection's point of view."""

    def __init__(self, pass_on: PassOn | None = None) -> None:
        self.passed: list[bytes] = []
        self.answer = Answer(200, [(b"x-ms-region", b"Sweden Central")], lambda paused: None, lambda: None)
        self.task = asyncio.create_task(self.answer.relay(pass_on or self._keep))

    async def _keep(self, piece: bytes) -> None:
        self.passed.append(piece)

    async def waiting(self) -> "Relayed":
        """Return once `relay` has started and waits for the next piece."""
        await asyncio.sleep(0)
        assert self.answer._pass_on is not None
        return self

    async def over(self) -> None:
        """Return or raise as the relay does."""
        await asyncio.wait_for(self.task, 60)

    def receive(self, *pieces: bytes) -> None:
        """Feed pieces that arrived in one loop iteration."""
        for piece in pieces:
            self.answer.feed(piece)
        self.answer.flush()


async def test_a_piece_is_passed_on_in_the_loop_iteration_in_which_it_arrives() -> None:
    """Pieces that arrive together are passed on together."""
    relayed = await Relayed().waiting()
    assert not relayed.answer.headers  # not kept for the duration of a long stream
    relayed.receive(b"a")
    assert relayed.passed == [b"a"]
    relayed.receive(b"b", b"c")
    assert relayed.passed == [b"a", b"bc"]
    relayed.answer.feed(b"d")
    relayed.answer.end()
    await relayed.over()
    assert relayed.passed == [b"a", b"bc", b"d"]


async def test_earlier_pieces_are_passed_on_first() -> None:
    """What arrived before `relay` started comes before what arrives later."""
    relayed = Relayed()
    relayed.receive(b"a")
    relayed.receive(b"b")
    await relayed.waiting()
    relayed.receive(b"c")
    assert relayed.passed == [b"ab", b"c"]
    relayed.answer.end()
    await relayed.over()


async def test_a_slow_receiver_gets_the_rest_in_order() -> None:
    """While one piece is being passed on, later ones wait."""
    passed, ready = [], asyncio.Event()

    async def pass_on(piece: bytes) -> None:
        await ready.wait()
        passed.append(piece)

    relayed = await Relayed(pass_on).waiting()
    relayed.receive(b"a")
    relayed.receive(b"b")
    await asyncio.sleep(0)
    relayed.receive(b"c")
    relayed.answer.end()
    assert passed == []
    ready.set()
    await relayed.over()
    assert passed == [b"a", b"bc"]


async def test_an_exception_in_pass_on_ends_the_relay() -> None:
    """`relay` raises it."""

    async def pass_on(piece: bytes) -> None:
        raise OSError("planted")

    relayed = await Relayed(pass_on).waiting()
    relayed.receive(b"a")
    relayed.receive(b"b")
    with pytest.raises(OSError, match="planted"):
        await relayed.over()


async def test_pieces_before_a_disconnect_are_passed_on() -> None:
    """Then `relay` raises the fault."""
    relayed = await Relayed().waiting()
    relayed.answer.feed(b"a")
    relayed.answer.fail(Disconnected(stale=False))
    with pytest.raises(Disconnected):
        await relayed.over()
    assert relayed.passed == [b"a"]


@pytest.mark.parametrize("turns", [0, 1, 2])
async def test_cancellation_stops_passing_on(turns: int) -> None:
    """A piece being passed on is cancelled too, whether or not the relay already waits for it."""
    ends = []

    async def pass_on(piece: bytes) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ends.append(piece)

    relayed = await Relayed(pass_on).waiting()
    relayed.receive(b"a")
    for _ in range(turns):
        await asyncio.sleep(0)
    relayed.task.cancel()
    await asyncio.wait([relayed.task])
    await asyncio.sleep(0)
    relayed.receive(b"b")
    assert ends == [b"a"]
    assert relayed.task.cancelled()


async def test_pass_on_runs_in_the_context_of_the_call() -> None:
    """Logs then have the call's trace, whichever call's context the connection was opened in."""
    name: ContextVar[str] = ContextVar("name", default="the connection")
    seen = []

    async def pass_on(piece: bytes) -> None:
        seen.append(name.get())

    token = name.set("the call")
    relayed = Relayed(pass_on)
    name.reset(token)
    await relayed.waiting()
    relayed.receive(b"a")
    assert seen == ["the call"]
    relayed.answer.end()
    await relayed.over()
