"""The keys of a tenant: fetched once for all, taken up when they are new, and kept while Entra ID is away."""

import asyncio

import pytest

from app.errors import IdentityUnavailable
from tests.app.door.entra.conftest import Tokens
from tests.app.door.entra.tenant import STRANGER, SUCCESSOR, token
from tests.kit.hub import wait_until

pytestmark = pytest.mark.anyio


async def test_one_fetch_serves_all(tokens: Tokens) -> None:
    """A hundred calls that find no key wait for one fetch, and the hundreds after them for none."""
    tokens.host.open.clear()
    calls = [asyncio.create_task(tokens.check(token())) for _ in range(100)]
    await asyncio.to_thread(wait_until, lambda: tokens.host.asked)
    calls[0].cancel()  # who leaves takes the keys from nobody
    tokens.host.server.loop.call_soon_threadsafe(tokens.host.open.set)
    results = await asyncio.gather(*calls[1:])
    assert results == [{"app_id": "app-7", "object_id": "object-7"}] * 99
    tokens.host.open.clear()
    await asyncio.gather(*(tokens.check(token()) for _ in range(100)))
    assert tokens.host.asked == 1


async def test_made_up_key_ids_ask_for_nothing(tokens: Tokens) -> None:
    """Whatever key ids strangers name, the keys are fetched once a minute at most."""
    for number in range(50):
        assert "this tenant's keys" in await tokens.refused(token(STRANGER, key_id=f"made-up-{number}"))
    assert tokens.host.asked == 1
    tokens.now += 61
    for number in range(50):
        await tokens.refused(token(STRANGER, key_id=f"made-up-{number}"))
    assert tokens.host.asked == 2


async def test_a_new_key_is_taken_up(tokens: Tokens) -> None:
    """A token signed by a key that was just published lets in, and the key before it still serves."""
    assert await tokens.check(token())
    tokens.host.keys["two"] = SUCCESSOR
    tokens.now += 61
    assert await tokens.check(token(SUCCESSOR, key_id="two"))
    assert await tokens.check(token())
    assert tokens.host.asked == 2


async def test_a_withdrawn_key_goes_within_a_day(tokens: Tokens) -> None:
    """After a day the keys are fetched again, without anybody waiting, and one that is gone lets nobody in any more."""
    assert await tokens.check(token())
    tokens.host.keys = {"two": SUCCESSOR}
    tokens.now += 24 * 3600 - 1
    assert await tokens.check(token())
    assert tokens.host.asked == 1
    tokens.now += 2
    tokens.host.open.clear()
    assert await tokens.check(token())
    tokens.host.server.loop.call_soon_threadsafe(tokens.host.open.set)
    fetching = tokens.entra.keys._fetching
    assert fetching is not None
    assert await fetching is None
    assert "this tenant's keys" in await tokens.refused(token())
    assert await tokens.check(token(SUCCESSOR, key_id="two"))


@pytest.mark.parametrize(
    "raw",
    [
        (500, b"{}"),
        (302, b""),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b'{"keys": null}'),
        (200, b'{"keys": []}'),
        (200, b'{"keys": [{"kty": "EC", "kid": "one"}, {"kty": "RSA", "kid": "one", "n": "!"}, 7]}'),
    ],
)
async def test_without_keys_no_token_can_be_checked(tokens: Tokens, raw: tuple[int, bytes]) -> None:
    """That is no fault of the caller's: a 503, at once for five seconds, and then another try."""
    tokens.host.raw = raw
    for _ in range(3):
        with pytest.raises(IdentityUnavailable) as fault:
            await tokens.check(token())
    assert (fault.value.status, fault.value.code) == (503, "identity_unavailable")
    assert tokens.host.asked == 1
    tokens.host.raw = None
    tokens.now += 6
    assert await tokens.check(token())


async def test_known_keys_serve_while_entra_id_is_away(tokens: Tokens) -> None:
    """A failing fetch costs no caller anything whose token is signed by a key at hand."""
    assert await tokens.check(token())
    tokens.host.raw = (500, b"")
    tokens.now += 25 * 3600
    for _ in range(3):
        assert await tokens.check(token())
    fetching = tokens.entra.keys._fetching
    assert fetching is not None
    assert await fetching is not None
    assert await tokens.check(token())
    with pytest.raises(IdentityUnavailable):
        await tokens.check(token(SUCCESSOR, key_id="two"))
