"""What the proxy presents upstream: a key, or a token that is fetched once for all."""

import asyncio
from collections.abc import Callable

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import AzureError, ClientAuthenticationError

from app.errors import UpstreamUnreachable
from app.upstream.credentials import SCOPE, EntraAuth, KeyAuth

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """The loop of the async tests here."""
    return "asyncio"


def test_a_resource_key_is_shown_as_api_key() -> None:
    """A backend with a key of its own gets that."""
    assert asyncio.run(KeyAuth("upstream-key").header()) == ("api-key", "upstream-key")


class StandInCredential:
    """Stands in for azure-identity, which needs Entra ID to talk to; hands out token-1, token-2 … for an hour each."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.asked: list[str] = []
        self.fault: AzureError | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def get_token(self, *scopes: str) -> AccessToken:
        self.asked += scopes
        number = len(self.asked)
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        return AccessToken(f"token-{number}", int(self._now()) + 3600)


class Entra:
    """EntraAuth with a credential and a clock that tests move."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.credential = StandInCredential(lambda: self.now)
        self.auth = EntraAuth(self.credential, lambda: self.now)  # type: ignore[arg-type]

    async def token(self) -> str:
        name, value = await self.auth.header()
        assert name == "authorization"
        return value

    async def settled(self) -> None:
        """Let a fetch that nobody waits for come to its end."""
        for _ in range(5):
            await asyncio.sleep(0)


async def test_a_token_is_kept() -> None:
    """One token serves until five minutes before it expires, and is asked for by Azure OpenAI's scope."""
    entra = Entra()
    assert await entra.token() == "Bearer token-1"
    entra.now += 3600 - 301
    assert await entra.token() == "Bearer token-1"
    await entra.settled()
    assert entra.credential.asked == [SCOPE]


async def test_a_token_is_renewed_before_it_expires() -> None:
    """In its last five minutes a token still serves, at once, while the next is fetched, once."""
    entra = Entra()
    await entra.token()
    entra.now += 3600 - 299
    entra.credential.gate.clear()
    assert [await entra.token() for _ in range(5)] == ["Bearer token-1"] * 5
    entra.credential.gate.set()
    await entra.settled()
    assert await entra.token() == "Bearer token-2"
    assert len(entra.credential.asked) == 2


@pytest.mark.parametrize("fault", [None, ClientAuthenticationError("no")])
async def test_one_fetch_serves_all_who_wait(fault: AzureError | None) -> None:
    """A hundred calls that find no token wait for one fetch and share what comes of it, a failure too."""
    entra = Entra()
    entra.credential.gate.clear()
    entra.credential.fault = fault
    calls = [asyncio.create_task(entra.token()) for _ in range(100)]
    await entra.settled()
    entra.credential.gate.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert len(entra.credential.asked) == 1
    if fault is None:
        assert set(results) == {"Bearer token-1"}
    else:
        assert {type(result) for result in results} == {UpstreamUnreachable}


async def test_a_caller_that_leaves_takes_the_token_from_nobody() -> None:
    """The first of two waiting calls is cancelled; the other gets the token of the same fetch."""
    entra = Entra()
    entra.credential.gate.clear()
    leaving, staying = asyncio.create_task(entra.token()), asyncio.create_task(entra.token())
    await entra.settled()
    leaving.cancel()
    await entra.settled()
    entra.credential.gate.set()
    assert await staying == "Bearer token-1"
    assert leaving.cancelled()
    assert len(entra.credential.asked) == 1


async def test_an_old_token_serves_while_no_new_one_can_be_had() -> None:
    """A failure to renew is no failure of a call as long as the token in hand is valid."""
    entra = Entra()
    await entra.token()
    entra.now += 3600 - 10
    entra.credential.fault = ClientAuthenticationError("no")
    for _ in range(3):
        assert await entra.token() == "Bearer token-1"
        await entra.settled()
    entra.now += 11
    with pytest.raises(UpstreamUnreachable):
        await entra.token()


async def test_without_any_token_upstream_is_unreachable(caplog: pytest.LogCaptureFixture) -> None:
    """No token is a 502 that tells nothing of the fault's text, nor does the log; and the next call tries again."""
    entra = Entra()
    entra.credential.fault = ClientAuthenticationError("tenant 0000 refused client-secret")
    with pytest.raises(UpstreamUnreachable) as refused:
        await entra.token()
    assert refused.value.status == 502
    assert "secret" not in refused.value.message
    assert refused.value.__cause__ is entra.credential.fault
    assert "no Entra ID token for Azure OpenAI could be fetched: ClientAuthenticationError" in caplog.text
    assert "client-secret" not in caplog.text
    entra.credential.fault = None
    assert await entra.token() == "Bearer token-2"
