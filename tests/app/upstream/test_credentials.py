"""EntraAuth: the proxy's token for upstream is shared, renewed in time, and kept while it is valid."""

import asyncio
from collections.abc import Callable

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import AzureError, ClientAuthenticationError

from app.errors import UpstreamUnreachable
from app.settings.backends import SCOPE
from app.upstream.credentials import EntraAuth

pytestmark = pytest.mark.anyio


class StandInCredential:
    """Stands in for azure-identity, which needs Entra ID; issues token-1, token-2 … for an hour each."""

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
    """EntraAuth with a credential and a clock that tests control."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.credential = StandInCredential(lambda: self.now)
        self.auth = EntraAuth(self.credential, SCOPE, lambda: self.now)  # type: ignore[arg-type]

    async def token(self) -> str:
        name, value = await self.auth.header()
        assert name == "authorization"
        return value

    async def settled(self) -> None:
        """Let a background fetch finish."""
        for _ in range(5):
            await asyncio.sleep(0)


async def test_a_token_is_reused() -> None:
    """One token, with Azure OpenAI's scope, is used until five minutes before it expires."""
    entra = Entra()
    assert await entra.token() == "Bearer token-1"
    entra.now += 3600 - 301
    assert await entra.token() == "Bearer token-1"
    await entra.settled()
    assert entra.credential.asked == [SCOPE]


async def test_a_token_is_renewed_before_it_expires() -> None:
    """In its last five minutes a token is still used without waiting, while the next is fetched once."""
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
async def test_concurrent_calls_share_one_fetch(fault: AzureError | None) -> None:
    """A hundred calls without a token share one fetch and its result, even if the first is cancelled or it fails."""
    entra = Entra()
    entra.credential.gate.clear()
    entra.credential.fault = fault
    calls = [asyncio.create_task(entra.token()) for _ in range(100)]
    await entra.settled()
    calls[0].cancel()
    await entra.settled()
    entra.credential.gate.set()
    results = await asyncio.gather(*calls[1:], return_exceptions=True)
    assert calls[0].cancelled()
    assert len(entra.credential.asked) == 1
    if fault is None:
        assert set(results) == {"Bearer token-1"}
    else:
        assert {type(result) for result in results} == {UpstreamUnreachable}


async def test_a_valid_token_outlives_a_failed_renewal() -> None:
    """A failed renewal fails no call while the current token is valid."""
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
    """Without a token: a 502; neither it nor the log repeats the fault's text. The next call tries again."""
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
