"""Tokens of Entra ID: which let in, where their keys come from, and whom they name in the record."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any

import jwt
import pytest
from aiohttp import ClientSession
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.auth import Access, ClientKeys
from app.entra import EntraTokens
from app.errors import IdentityUnavailable, InvalidToken, Unauthorized
from app.settings import EntraSettings, Settings, SettingsError
from app.upstream import open_session
from tests.conftest import environ
from tests.kit.hub import HubReader, wait_until
from tests.kit.proxy import KEY
from tests.kit.upstream import Reply, ScriptedUpstream, Seen
from tests.kit.wire import CHAT, chat_body, chat_json, client

pytestmark = pytest.mark.anyio

TENANT = "11111111-2222-3333-4444-555555555555"
AUDIENCE = "99999999-8888-7777-6666-555555555555"
V1 = f"https://sts.windows.net/{TENANT}/"
V2 = f"https://login.microsoftonline.com/{TENANT}/v2.0"
KEYS_PATH = f"/{TENANT}/discovery/v2.0/keys"
SIGNER, SUCCESSOR, STRANGER = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(3))


@pytest.fixture
def anyio_backend() -> str:
    """The loop of the async tests here."""
    return "asyncio"


def public(key_id: str, key: rsa.RSAPrivateKey) -> dict[str, Any]:
    """A key as Entra ID publishes it."""
    entry = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**entry, "kid": key_id, "x5t": key_id, "use": "sig", "issuer": V2}


class KeyServer:
    """The discovery host: publishes `keys`, or answers `raw` in their place, as soon as `open` says so."""

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


class Tokens:
    """EntraTokens on a clock that tests move; the clock of tokens' claims is the real one."""

    def __init__(self, host: KeyServer, session: ClientSession) -> None:
        self.host = host
        self.now = 0.0
        self.ahead = 0.0
        self.entra = EntraTokens(
            TENANT, AUDIENCE, lambda: session, host.server.url, lambda: self.now, lambda: time.time() + self.ahead
        )

    async def check(self, text: str) -> Mapping[str, str]:
        return await self.entra.check(text)

    async def refused(self, text: str) -> str:
        with pytest.raises(InvalidToken) as refusal:
            await self.check(text)
        return refusal.value.message


@pytest.fixture
async def tokens(upstream: Any) -> AsyncIterator[Tokens]:
    session = open_session()
    yield Tokens(KeyServer(upstream), session)
    await session.close()


def token(key: Any = SIGNER, key_id: str | None = "one", algorithm: str = "RS256", **claims: Any) -> str:
    """A token of version 2.0 as Entra ID makes it, but for what is said otherwise; None leaves a claim out."""
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


@pytest.mark.parametrize(
    ("claims", "fields"),
    [
        ({}, {"app_id": "app-7", "object_id": "object-7"}),
        ({"iss": V1, "ver": "1.0", "azp": None, "appid": "app-8"}, {"app_id": "app-8", "object_id": "object-7"}),
        ({"aud": f"api://{AUDIENCE}"}, {"app_id": "app-7", "object_id": "object-7"}),
        ({"azp": None, "oid": None}, {}),
        ({"azp": 7, "oid": ["x"]}, {}),
    ],
)
async def test_a_token_of_the_tenant_lets_in(tokens: Tokens, claims: dict[str, Any], fields: dict[str, str]) -> None:
    """Both versions do, for the audience with and without api://; the caller's ids are those the token names."""
    assert await tokens.check(token(**claims)) == fields


async def test_the_audience_may_be_set_with_its_scheme(tokens: Tokens) -> None:
    """api:// before the audience in the settings makes no difference."""
    same = EntraTokens(TENANT, f"api://{AUDIENCE}", tokens.entra.keys._session, tokens.host.server.url)
    for audience in (AUDIENCE, f"api://{AUDIENCE}"):
        assert await same.check(token(aud=audience))


NOW = int(time.time())
SECRET = "planted-secret"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (token(exp=NOW - 3600), "has expired"),
        (token(nbf=NOW + 3600), "is not valid yet"),
        (token(aud="api://another"), "is for another audience"),
        (token(aud=[]), "lacks a claim that is needed"),
        (token(iss=V2.replace(TENANT, "00000000-2222-3333-4444-555555555555")), "was issued by another tenant"),
        (token(iss=V1.rstrip("/")), "was issued by another tenant"),
        (token(exp=None), "lacks a claim that is needed"),
        (token(iss=None), "lacks a claim that is needed"),
        (token(aud=None), "lacks a claim that is needed"),
        (token(STRANGER), "has no valid signature"),
        (token()[:-6] + "AAAAAA", "has no valid signature"),
        (token(STRANGER, key_id="two"), "is not signed by a key of this tenant"),
        (token(key_id=None), "is not signed as Entra ID signs"),
        (token(SECRET * 3, algorithm="HS256"), "is not signed as Entra ID signs"),
        (token(None, algorithm="none"), "is not signed as Entra ID signs"),
        (token(SIGNER, algorithm="RS384"), "is not signed as Entra ID signs"),
        (token(ec.generate_private_key(ec.SECP256R1()), algorithm="ES256"), "is not signed as Entra ID signs"),
        (f"{SECRET}.{SECRET}.{SECRET}", "is no token of Entra ID"),
        ("..", "is no token of Entra ID"),
        (f"{base64.urlsafe_b64encode(b'[' * 40_000).decode().rstrip('=')}.e30.AA", "is no token of Entra ID"),
        (f"{base64.urlsafe_b64encode(b'{"alg":"RS256","kid":["one"]}').decode()}.e30.AA", "is no token of Entra ID"),
        ("ÿ\x00.é.ü", "is no token of Entra ID"),
    ],
)
async def test_any_other_token_is_refused(tokens: Tokens, text: str, why: str) -> None:
    """What is old, of another tenant, for another audience, forged or no token at all is refused in general terms."""
    assert await tokens.refused(text) == f"Access denied: the bearer token {why}."


async def test_the_public_key_signs_nothing(tokens: Tokens) -> None:
    """A token "signed" with the published key as if that were a shared secret is refused."""
    pem = SIGNER.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head, body = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in ({"alg": "HS256", "kid": "one"}, {"aud": AUDIENCE, "iss": V2, "exp": NOW + 3600})
    )
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    signed = base64.urlsafe_b64encode(signature.sign(f"{head}.{body}".encode(), pem)).decode().rstrip("=")
    assert "as Entra ID signs" in await tokens.refused(f"{head}.{body}.{signed}")


async def test_clocks_may_differ_by_a_minute(tokens: Tokens) -> None:
    """Half a minute before and after its time a token is still taken, and a minute and a half is too much."""
    now = time.time()
    assert await tokens.check(token(exp=now - 30))
    assert await tokens.check(token(nbf=now + 30, iat=now + 30))
    assert "expired" in await tokens.refused(token(exp=now - 90))
    assert "not valid yet" in await tokens.refused(token(nbf=now + 90))


async def test_a_token_is_checked_once(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that was found valid is remembered, as itself and for its own time; a bad one never."""
    text, other, bad = token(), token(azp="app-8"), token(STRANGER)
    decoded: list[str] = []
    decode = jwt.decode
    monkeypatch.setattr(
        jwt, "decode", lambda text, *rest, **more: [decoded.append(text), decode(text, *rest, **more)][1]
    )
    for _ in range(3):
        assert (await tokens.check(text))["app_id"] == "app-7"
        assert (await tokens.check(other))["app_id"] == "app-8"
        await tokens.refused(bad)
    assert decoded == [text, other, bad, bad, bad]
    tokens.ahead = 3600 + 61
    await tokens.check(text)  # by the clock of this test it has expired; so it is checked again, by the real one
    assert decoded[5:] == [text]


async def test_not_everything_is_remembered(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many tokens come, memory is for some thousands, the latest."""
    monkeypatch.setattr("app.entra.REMEMBERED", 3)
    for number in range(5):
        await tokens.check(token(azp=f"app-{number}"))
    assert [checked.caller["app_id"] for checked in tokens.entra._checked.values()] == ["app-2", "app-3", "app-4"]


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
        assert "key of this tenant" in await tokens.refused(token(STRANGER, key_id=f"made-up-{number}"))
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
    assert "key of this tenant" in await tokens.refused(token())
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


def bearer(text: str) -> tuple[bytes, bytes]:
    return b"authorization", b"Bearer " + text.encode()


async def test_key_or_token(tokens: Tokens) -> None:
    """With both set up either is enough, whatever the other is; a token beside a key still says who calls."""
    access = Access(ClientKeys(["key.with.dots"]), tokens.entra)
    key, named = (b"api-key", b"key.with.dots"), {"app_id": "app-7", "object_id": "object-7"}
    assert await access.check([key]) == {}
    assert await access.check([bearer("key.with.dots")]) == {}
    assert await access.check([bearer(token())]) == named
    assert await access.check([key, bearer(token())]) == named
    assert await access.check([key, bearer(token(exp=NOW - 3600))]) == {}
    assert await access.check([(b"api-key", b"wrong"), bearer(token())]) == named
    for headers in ([], [(b"api-key", b"wrong")], [bearer("wrong")]):
        with pytest.raises(Unauthorized) as refusal:
            await access.check(headers)
        assert refusal.value.code == "invalid_api_key"
    with pytest.raises(InvalidToken, match="expired"):
        await access.check([(b"api-key", b"wrong"), bearer(token(exp=NOW - 3600))])


async def test_without_keys_only_tokens_let_in(tokens: Tokens) -> None:
    """Where Entra ID alone is set up, no key and no header let anybody in."""
    access = Access(None, tokens.entra)
    assert await access.check([bearer(token())])
    for headers in ([], [(b"api-key", b"anything")], [bearer("")], [(b"api-key", token().encode())]):
        with pytest.raises(Unauthorized, match="a token of Entra ID is needed"):
            await access.check(headers)


@pytest.fixture
def through(upstream: Any, proxy: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Start a proxy that takes tokens, and what is around it: the proxy, its upstream, the discovery host."""

    def start(**more: str) -> tuple[Any, ScriptedUpstream, KeyServer]:
        host = KeyServer(upstream)
        monkeypatch.setattr("app.main.EntraTokens", partial(EntraTokens, authority=host.server.url))
        server = upstream(lambda request, reply: reply.json(chat_json()))
        more = {"PROXY_ENTRA_TENANT": TENANT.upper(), "PROXY_ENTRA_AUDIENCE": AUDIENCE, **more}
        return proxy(server.url, **more), server, host

    return start


def test_a_token_names_the_caller(through: Any, hub: HubReader, caplog: pytest.LogCaptureFixture) -> None:
    """The token's ids are the record's, whatever headers say; the token itself goes nowhere."""
    running, server, _ = through()
    text = token(appid="other", azp="app-7")
    with client(running.url) as caller:
        answer = caller.send(
            "POST",
            CHAT,
            chat_body(),
            api_key="",
            authorization=f"Bearer {text}",
            x_apim_app_id="claimed",
            x_apim_product="gold",
        )
        assert (answer.status, answer.read()) == (200, chat_json())
    record = hub.record(answer.trace_id)
    assert record["caller"] == {"app_id": "app-7", "object_id": "object-7", "product": "gold"}
    (seen,) = server.seen
    assert seen.header("authorization") is None
    spans = "".join(span.to_json() for span in running.spans.of_trace(answer.trace_id, 2))
    for part in text.split("."):
        assert part not in json.dumps(record) + spans + caplog.text + repr(seen)


def test_a_refusal_is_what_openai_clients_know(through: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A bad token is a 401 in OpenAI's shape that repeats nothing; a key lets in as before; upstream sees neither."""
    running, server, _ = through()
    text = token(exp=NOW - 3600, azp=SECRET)
    with client(running.url) as caller:
        refused = caller.send("POST", CHAT, chat_body(), api_key="", authorization=f"Bearer {text}")
        error = json.loads(refused.read())["error"]
        assert caller.send("POST", CHAT, chat_body(), api_key=KEY).read() == chat_json()
    assert refused.status == 401
    assert refused.header("www-authenticate") == "Bearer"
    assert error == {
        "message": "Access denied: the bearer token has expired.",
        "type": "authentication_error",
        "code": "invalid_token",
        "param": None,
    }
    assert len(server.seen) == 1
    for part in (*text.split("."), SECRET):
        assert part not in caplog.text


def test_entra_id_away_is_a_503_for_tokens_alone(through: Any) -> None:
    """Callers with keys do not notice; callers with tokens are told that it is not their fault."""
    running, _, host = through()
    host.raw = (500, b"")
    with client(running.url) as caller:
        refused = caller.send("POST", CHAT, chat_body(), api_key="", authorization=f"Bearer {token()}")
        assert (refused.status, json.loads(refused.read())["error"]["code"]) == (503, "identity_unavailable")
        assert caller.send("POST", CHAT, chat_body(), authorization=f"Bearer {token()}").status == 200


def test_tokens_alone_are_enough_to_start(through: Any) -> None:
    """Entra ID without client keys is no open door: a key that is not there does not let in."""
    running, _, _ = through(PROXY_CLIENT_KEYS="")
    with client(running.url) as caller:
        refused = caller.send("POST", CHAT, chat_body())
        assert (refused.status, json.loads(refused.read())["error"]["code"]) == (401, "invalid_api_key")
        assert caller.send("POST", CHAT, chat_body(), authorization=f"Bearer {token()}").status == 200


def settings(**more: str) -> Settings:
    return Settings.from_environ({**environ("https://x.example", "", None, **more), "AZURE_EVENTHUB_CONN_STR": HUB})  # type: ignore[arg-type]


HUB = "Endpoint=sb://example.servicebus.windows.net/;SharedAccessKeyName=send;SharedAccessKey=k;EntityPath=h"


def test_settings() -> None:
    """Tenant and audience are read together; without them there is no Entra ID."""
    assert settings().entra is None
    read = settings(PROXY_ENTRA_TENANT=TENANT, PROXY_ENTRA_AUDIENCE=f"api://{AUDIENCE}", PROXY_CLIENT_KEYS="")
    assert read.entra == EntraSettings(TENANT, f"api://{AUDIENCE}")


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"PROXY_ENTRA_TENANT": TENANT}, "PROXY_ENTRA_AUDIENCE is missing"),
        ({"PROXY_ENTRA_AUDIENCE": AUDIENCE}, "PROXY_ENTRA_TENANT is missing"),
        ({"PROXY_ENTRA_TENANT": "common", "PROXY_ENTRA_AUDIENCE": AUDIENCE}, "PROXY_ENTRA_TENANT must be"),
        ({"PROXY_ENTRA_TENANT": "contoso.onmicrosoft.com", "PROXY_ENTRA_AUDIENCE": "x"}, "PROXY_ENTRA_TENANT must be"),
        ({"PROXY_ENTRA_TENANT": f"{TENANT}/../x", "PROXY_ENTRA_AUDIENCE": "x"}, "PROXY_ENTRA_TENANT must be"),
        ({"PROXY_ENTRA_TENANT": TENANT, "PROXY_ENTRA_AUDIENCE": "api://"}, "PROXY_ENTRA_AUDIENCE must be"),
        ({"PROXY_ENTRA_TENANT": TENANT, "PROXY_ENTRA_AUDIENCE": "a b"}, "PROXY_ENTRA_AUDIENCE must be"),
    ],
)
def test_faults_in_settings(more: dict[str, str], fault: str) -> None:
    """One without the other, a tenant that is not an id, and an audience that is none are faults."""
    with pytest.raises(SettingsError) as faults:
        settings(**more)
    assert len(faults.value.faults) == 1
    assert faults.value.faults[0].startswith(fault)
