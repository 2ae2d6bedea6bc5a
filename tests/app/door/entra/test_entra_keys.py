"""Signing keys: fetched once for all callers, refreshed, and kept while Entra ID is unreachable."""

import asyncio

import pytest

from app.errors import IdentityUnavailable
from tests.app.door.entra.conftest import Tokens
from tests.app.door.entra.tenant import STRANGER, SUCCESSOR, token
from tests.kit.hub import wait_until

pytestmark = pytest.mark.anyio


async def test_concurrent_calls_share_one_fetch(tokens: Tokens) -> None:
    """A hundred calls without keys wait for one fetch, even if one is cancelled; later calls wait for none."""
    tokens.host.open.clear()
    calls = [asyncio.create_task(tokens.check(token())) for _ in range(100)]
    await asyncio.to_thread(wait_until, lambda: tokens.host.asked)
    calls[0].cancel()
    tokens.host.server.loop.call_soon_threadsafe(tokens.host.open.set)
    results = await asyncio.gather(*calls[1:])
    assert results == [{"app_id": "app-7", "object_id": "object-7"}] * 99
    tokens.host.open.clear()
    await asyncio.gather(*(tokens.check(token()) for _ in range(100)))
    assert tokens.host.asked == 1


async def test_unknown_key_ids_do_not_cause_fetches(tokens: Tokens) -> None:
    """Whatever key ids callers present, the keys are fetched at most once a minute."""
    for number in range(50):
        assert "this tenant's keys" in await tokens.refused(token(STRANGER, key_id=f"made-up-{number}"))
    assert tokens.host.asked == 1
    tokens.now += 61
    for number in range(50):
        await tokens.refused(token(STRANGER, key_id=f"made-up-{number}"))
    assert tokens.host.asked == 2


async def test_a_new_key_is_accepted(tokens: Tokens) -> None:
    """A token signed with a newly published key is accepted, and so is one with the previous key."""
    assert await tokens.check(token())
    tokens.host.keys["two"] = SUCCESSOR
    tokens.now += 61
    assert await tokens.check(token(SUCCESSOR, key_id="two"))
    assert await tokens.check(token())
    assert tokens.host.asked == 2


async def test_a_withdrawn_key_is_refused_within_a_day(tokens: Tokens) -> None:
    """After a day the keys are fetched again in the background, and a withdrawn one is no longer accepted."""
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
    """That is not the caller's fault: a 503, without another fetch for five seconds."""
    tokens.host.raw = raw
    for _ in range(3):
        with pytest.raises(IdentityUnavailable) as fault:
            await tokens.check(token())
    assert (fault.value.status, fault.value.code) == (503, "identity_unavailable")
    assert tokens.host.asked == 1
    tokens.host.raw = None
    tokens.now += 6
    assert await tokens.check(token())


async def test_known_keys_work_during_an_outage(tokens: Tokens) -> None:
    """A failed fetch does not affect callers whose token is signed with a known key."""
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
