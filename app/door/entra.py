"""EntraTokens: checks Entra ID bearer tokens against the signing keys that their tenant publishes."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import orjson

from app.errors import IdentityUnavailable, InvalidToken
from app.upstream import Origin, Pool, Request, UpstreamFault

if TYPE_CHECKING:
    from jwt import PyJWK

AUTHORITY: Final = "https://login.microsoftonline.com"
SKEW_S: Final = 60.0
FETCH_S: Final = 5.0
KEYS_BYTES: Final = 1 << 20
REMEMBERED: Final = 4096
REFRESH_S: Final = 60.0
RETRY_S: Final = 5.0
OLD_S: Final = 24 * 3600.0  # learn.microsoft.com/entra/identity-platform/signing-key-rollover


class SigningKeys:
    """A tenant's signing keys, by id.

    A known key is returned immediately. Once a day all keys are fetched again in the background, so that a withdrawn
    key disappears. An unknown id triggers a fetch that concurrent callers share; after one, no unknown id triggers
    another within a minute (five seconds after a failure).
    """

    def __init__(self, url: str, pool: Callable[[], Pool], clock: Callable[[], float]) -> None:
        """`pool` returns the running loop's connections; `clock` counts seconds."""
        self._url = url
        self._pool = pool
        self._clock = clock
        self._keys: dict[str, PyJWK] = {}
        self._fetching: asyncio.Task[Exception | None] | None = None
        self._fault: Exception | None = None
        self._next = self._old = 0.0

    async def get(self, key_id: str) -> "PyJWK | None":
        """The key, or None if the tenant has no such key. Raises IdentityUnavailable if the keys cannot be fetched."""
        if (known := self._keys.get(key_id)) is not None:
            if self._clock() >= self._old:
                self._fetch_soon()
            return known
        if (fetching := self._fetch_soon()) is not None:
            await asyncio.shield(fetching)  # one caller's cancellation must not cancel it for the others
        found = self._keys.get(key_id)
        if found is None and self._fault is not None:
            raise IdentityUnavailable(
                "The token cannot be checked now: Entra ID's signing keys could not be fetched."
            ) from self._fault
        return found

    def _fetch_soon(self) -> "asyncio.Task[Exception | None] | None":
        """The fetch in flight, or a new one; None if it is too soon for another."""
        if self._fetching is None or self._fetching.done():
            if self._clock() < self._next:
                return None
            self._fetching = asyncio.create_task(self._fetch())
        return self._fetching

    async def _fetch(self) -> Exception | None:
        try:
            keys, fault = await self._ask(), None
        except (UpstreamFault, TimeoutError, ValueError) as failed:
            keys, fault = self._keys, failed
        self._keys, self._fault = keys, fault
        now = self._clock()
        self._next = now + (REFRESH_S if fault is None else RETRY_S)
        if fault is None:
            self._old = now + OLD_S
        return fault

    async def _ask(self) -> "dict[str, PyJWK]":
        """Raises UpstreamFault, TimeoutError or ValueError."""
        headers = [(b"accept", b"application/json")]
        request = Request("GET", urlsplit(self._url).path, headers)
        async with asyncio.timeout(FETCH_S):
            answer = await self._pool().request(Origin.of(self._url), request)
            try:
                body = await answer.read(KEYS_BYTES)
            finally:
                answer.close()
        if answer.status != 200:
            raise ValueError(f"status {answer.status}")
        if not (keys := _signing_keys(body)):
            raise ValueError("no signing keys in the response")
        return keys


@dataclass(frozen=True, slots=True)
class _Checked:
    """A valid token: its expiry, the key that signed it, and the caller it names."""

    until: float
    key_id: str
    caller: Mapping[str, str]


class EntraTokens:
    """Accepts valid access tokens, version 1.0 or 2.0, that the tenant issued for the audience.

    The tenant decides which of its users and applications get such a token. A client presents the same token for an
    hour, and checking it costs 0.3 ms, so valid tokens are cached by digest while they and their keys are valid.
    """

    def __init__(
        self,
        tenant: str,
        audience: str,
        pool: Callable[[], Pool],
        authority: str = AUTHORITY,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`tenant` is the directory's id, `audience` the application's, with or without `api://`.

        `authority` publishes the keys; `pool` and `clock` are passed to SigningKeys; `wall` is the time of day.
        """
        self._wall = wall
        self._checked: dict[bytes, _Checked] = {}
        self.keys = SigningKeys(f"{authority}/{tenant}/discovery/v2.0/keys", pool, clock)
        bare = audience.removeprefix("api://")
        self._audiences = (bare, f"api://{bare}")
        # learn.microsoft.com/entra/identity-platform/access-token-claims-reference: `iss` by the token's version
        self._issuers = (f"https://sts.windows.net/{tenant}/", f"{AUTHORITY}/{tenant}/v2.0")

    async def check(self, token: str) -> Mapping[str, str]:
        """The caller's `app_id` and `object_id`, if the token names them.

        Raises IdentityUnavailable, or InvalidToken, which says what is wrong without repeating the token's content.
        """
        digest = hashlib.sha256(token.encode()).digest()
        checked = self._checked.get(digest)
        if checked is None or self._wall() >= checked.until or await self.keys.get(checked.key_id) is None:
            checked = await self._check(token)
            if len(self._checked) >= REMEMBERED:
                self._checked.pop(next(iter(self._checked)))
            self._checked[digest] = checked
        return checked.caller

    async def _check(self, token: str) -> _Checked:
        import jwt

        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, RecursionError):  # too deeply nested JSON
            raise InvalidToken("Access denied: the bearer token is not an Entra ID token.") from None
        key_id = header.get("kid")
        if header.get("alg") != "RS256" or not isinstance(key_id, str):
            raise InvalidToken("Access denied: the bearer token is not signed the way Entra ID signs tokens.")
        key = await self.keys.get(key_id)
        if key is None:
            raise InvalidToken("Access denied: the bearer token is not signed by one of this tenant's keys.")
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=["RS256"],
                audience=self._audiences,
                issuer=self._issuers,
                leeway=SKEW_S,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.PyJWTError as fault:
            raise InvalidToken(f"Access denied: the bearer token {_wrong(fault)}.") from None
        found = {"app_id": claims.get("azp") or claims.get("appid"), "object_id": claims.get("oid")}
        caller = {name: value for name, value in found.items() if isinstance(value, str) and value}
        return _Checked(int(claims["exp"]) + SKEW_S, key_id, caller)


def _signing_keys(body: bytes) -> "dict[str, PyJWK]":
    """The RSA keys of a JSON Web Key Set (RFC 7517); other entries are skipped. Raises ValueError."""
    import jwt

    document = orjson.loads(body)
    entries = document.get("keys") if isinstance(document, dict) else None
    keys = {}
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and entry.get("kty") == "RSA" and entry.get("use", "sig") == "sig":
            try:
                key = jwt.PyJWK(entry, algorithm="RS256")
            except jwt.PyJWTError:
                continue
            if key.key_id:
                keys[key.key_id] = key
    return keys


def _wrong(fault: Exception) -> str:
    """What is wrong, in our own words: PyJWT's messages can repeat claims."""
    import jwt

    match fault:
        case jwt.ExpiredSignatureError():
            return "has expired"
        case jwt.ImmatureSignatureError():
            return "is not valid yet"
        case jwt.InvalidAudienceError():
            return "is for another audience"
        case jwt.InvalidIssuerError():
            return "was issued by another tenant"
        case jwt.MissingRequiredClaimError():
            return "lacks a required claim"
        case jwt.InvalidSignatureError():
            return "has no valid signature"
    return "is not valid"
