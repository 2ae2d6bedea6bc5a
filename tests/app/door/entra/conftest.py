"""EntraTokens with a discovery host that the tests control."""

import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from app.door.entra import EntraTokens
from app.errors import InvalidToken
from app.upstream import Pool
from tests.app.door.entra.tenant import AUDIENCE, TENANT, KeyServer


class Tokens:
    """EntraTokens with a clock that tests advance; PyJWT checks claims by the real time."""

    def __init__(self, host: KeyServer, pool: Pool) -> None:
        self.host = host
        self.now = 0.0
        self.ahead = 0.0
        self.entra = EntraTokens(
            TENANT, AUDIENCE, lambda: pool, host.server.url, lambda: self.now, lambda: time.time() + self.ahead
        )

    async def check(self, text: str) -> Mapping[str, str]:
        return await self.entra.check(text)

    async def refused(self, text: str) -> str:
        with pytest.raises(InvalidToken) as refusal:
            await self.check(text)
        return refusal.value.message


@pytest.fixture
async def tokens(upstream: Any) -> AsyncIterator[Tokens]:
    pool = Pool()
    yield Tokens(KeyServer(upstream), pool)
    await pool.close()
