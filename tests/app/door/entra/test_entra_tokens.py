"""Entra ID tokens: which are accepted, and the caller they name."""

import base64
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.door.auth import Access, ClientKeys
from app.door.entra import EntraTokens
from app.errors import InvalidToken, Unauthorized
from app.operations.openai import OPENAI
from tests.app.door.entra.conftest import Tokens
from tests.app.door.entra.tenant import AUDIENCE, SIGNER, STRANGER, TENANT, V1, V2, token

pytestmark = pytest.mark.anyio


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
async def test_a_tenants_token_is_accepted(tokens: Tokens, claims: dict[str, Any], fields: dict[str, str]) -> None:
    """In both versions, for the audience with and without api://; the token names the caller."""
    assert await tokens.check(token(**claims)) == fields


async def test_the_audience_setting_may_have_its_scheme(tokens: Tokens) -> None:
    """api:// before the audience in the settings makes no difference."""
    same = EntraTokens(TENANT, f"api://{AUDIENCE}", tokens.entra.keys._pool, tokens.host.server.url)
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
        (token(aud=[]), "lacks a required claim"),
        (token(iss=V2.replace(TENANT, "00000000-2222-3333-4444-555555555555")), "was issued by another tenant"),
        (token(iss=V1.rstrip("/")), "was issued by another tenant"),
        (token(exp=None), "lacks a required claim"),
        (token(iss=None), "lacks a required claim"),
        (token(aud=None), "lacks a required claim"),
        (token(STRANGER), "has no valid signature"),
        (token()[:-6] + "AAAAAA", "has no valid signature"),
        (token(STRANGER, key_id="two"), "is not signed by one of this tenant's keys"),
        (token(key_id=None), "is not signed the way Entra ID signs tokens"),
        (token(SECRET * 3, algorithm="HS256"), "is not signed the way Entra ID signs tokens"),
        (token(None, algorithm="none"), "is not signed the way Entra ID signs tokens"),
        (token(SIGNER, algorithm="RS384"), "is not signed the way Entra ID signs tokens"),
        (
            token(ec.generate_private_key(ec.SECP256R1()), algorithm="ES256"),
            "is not signed the way Entra ID signs tokens",
        ),
        (f"{SECRET}.{SECRET}.{SECRET}", "is not an Entra ID token"),
        ("..", "is not an Entra ID token"),
        (f"{base64.urlsafe_b64encode(b'[' * 40_000).decode().rstrip('=')}.e30.AA", "is not an Entra ID token"),
        (f"{base64.urlsafe_b64encode(b'{"alg":"RS256","kid":["one"]}').decode()}.e30.AA", "is not an Entra ID token"),
        ("ÿ\x00.é.ü", "is not an Entra ID token"),
    ],
)
async def test_any_other_token_is_refused(tokens: Tokens, text: str, why: str) -> None:
    """Expired, foreign, forged or malformed tokens are refused in general terms."""
    assert await tokens.refused(text) == f"Access denied: the bearer token {why}."


async def test_the_public_key_is_no_shared_secret(tokens: Tokens) -> None:
    """A token "signed" with the published key as an HMAC secret is refused."""
    pem = SIGNER.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head, body = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in ({"alg": "HS256", "kid": "one"}, {"aud": AUDIENCE, "iss": V2, "exp": NOW + 3600})
    )
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    signed = base64.urlsafe_b64encode(signature.sign(f"{head}.{body}".encode(), pem)).decode().rstrip("=")
    assert "the way Entra ID signs" in await tokens.refused(f"{head}.{body}.{signed}")


async def test_clocks_may_differ_by_a_minute(tokens: Tokens) -> None:
    """A token is accepted half a minute before and after its validity, but not a minute and a half."""
    now = time.time()
    assert await tokens.check(token(exp=now - 30))
    assert await tokens.check(token(nbf=now + 30, iat=now + 30))
    assert "expired" in await tokens.refused(token(exp=now - 90))
    assert "not valid yet" in await tokens.refused(token(nbf=now + 90))


async def test_a_token_is_checked_once(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    """A valid token is cached until it expires; a bad one is not."""
    text, other, bad = token(), token(azp="app-8"), token(STRANGER)
    decoded: list[str] = []
    decode = jwt.decode

    def watched(text: str, *rest: Any, **more: Any) -> Any:
        decoded.append(text)
        return decode(text, *rest, **more)

    monkeypatch.setattr(jwt, "decode", watched)
    for _ in range(3):
        assert (await tokens.check(text))["app_id"] == "app-7"
        assert (await tokens.check(other))["app_id"] == "app-8"
        await tokens.refused(bad)
    assert decoded == [text, other, bad, bad, bad]
    tokens.ahead = 3600 + 61
    await tokens.check(text)  # expired by this test's clock: it is checked again, by the real time
    assert decoded[5:] == [text]


async def test_the_cache_is_bounded(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the most recent tokens are cached."""
    monkeypatch.setattr("app.door.entra.REMEMBERED", 3)
    for number in range(5):
        await tokens.check(token(azp=f"app-{number}"))
    assert [checked.caller["app_id"] for checked in tokens.entra._checked.values()] == ["app-2", "app-3", "app-4"]


def bearer(text: str) -> tuple[bytes, bytes]:
    return b"authorization", b"Bearer " + text.encode()


async def test_a_key_or_a_token_is_enough(tokens: Tokens) -> None:
    """With both configured either is enough, whatever the other is; a token next to a key still names the caller."""
    access = Access(ClientKeys(["key.with.dots"]), tokens.entra)
    key, named = (b"api-key", b"key.with.dots"), {"app_id": "app-7", "object_id": "object-7"}
    assert await access.check([key], OPENAI.key_headers) == {}
    assert await access.check([bearer("key.with.dots")], OPENAI.key_headers) == {}
    assert await access.check([bearer(token())], OPENAI.key_headers) == named
    assert await access.check([key, bearer(token())], OPENAI.key_headers) == named
    assert await access.check([key, bearer(token(exp=NOW - 3600))], OPENAI.key_headers) == {}
    assert await access.check([(b"api-key", b"wrong"), bearer(token())], OPENAI.key_headers) == named
    for headers in ([], [(b"api-key", b"wrong")], [bearer("wrong")]):
        with pytest.raises(Unauthorized) as refusal:
            await access.check(headers, OPENAI.key_headers)
        assert refusal.value.code == "invalid_api_key"
    with pytest.raises(InvalidToken, match="expired"):
        await access.check([(b"api-key", b"wrong"), bearer(token(exp=NOW - 3600))], OPENAI.key_headers)


async def test_without_keys_only_tokens_are_accepted(tokens: Tokens) -> None:
    """With only Entra ID configured, no key is accepted."""
    access = Access(None, tokens.entra)
    assert await access.check([bearer(token())], OPENAI.key_headers)
    for headers in ([], [(b"api-key", b"anything")], [bearer("")], [(b"api-key", token().encode())]):
        with pytest.raises(Unauthorized, match="an Entra ID token is needed"):
            await access.check(headers, OPENAI.key_headers)
