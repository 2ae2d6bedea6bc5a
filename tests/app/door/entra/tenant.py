"""An Entra ID tenant: its tokens, its keys, and the host that publishes them."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.kit.upstream import Reply, ScriptedUpstream, Seen

TENANT = "11111111-2222-3333-4444-555555555555"

AUDIENCE = "99999999-8888-7777-6666-555555555555"

V1 = f"https://sts.windows.net/{TENANT}/"

V2 = f"https://login.microsoftonline.com/{TENANT}/v2.0"

KEYS_PATH = f"/{TENANT}/discovery/v2.0/keys"

SIGNER, SUCCESSOR, STRANGER = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(3))


def public(key_id: str, key: rsa.RSAPrivateKey) -> dict[str, Any]:
    """A key as Entra ID publishes it."""
    entry = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**entry, "kid": key_id, "x5t": key_id, "use": "sig", "issuer": V2}


class KeyServer:
    """The discovery host: responds with `keys`, or `raw` if set, once `open` is set."""

    def __init__(self, start: Callable[..., ScriptedUpstream]) -> None:
        self.keys = {"one": SIGNER}
        self.raw: tuple[int, bytes] | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.server = start(self._answer)

    async def _answer(self, request: Seen, reply: Reply) -> None:
        assert (request.method, request.target) == ("GET", KEYS_PATH)
        await self.open.wait()
        body = json.dumps({"keys": [public(key_id, key) for key_id, key in self.keys.items()]}).encode()
        status, body = self.raw or (200, body)
        await reply.json(body, status)

    @property
    def asked(self) -> int:
        return len(self.server.seen)


def token(key: Any = SIGNER, key_id: str | None = "one", algorithm: str = "RS256", **claims: Any) -> str:
    """A version 2.0 token as Entra ID issues it, with these changes; None omits a claim."""
    now = int(time.time())
    full = {
        "aud": AUDIENCE,
        "iss": V2,
        "iat": now - 10,
        "nbf": now - 10,
        "exp": now + 3600,
        "azp": "app-7",
        "oid": "object-7",
        "tid": TENANT,
        "ver": "2.0",
        **claims,
    }
    given = {name: value for name, value in full.items() if value is not None}
    return jwt.encode(given, key, algorithm, headers={"kid": key_id} if key_id else {})
