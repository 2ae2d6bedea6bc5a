"""Entra ID tokens in calls through the proxy, and in the record."""

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from app.door.entra import EntraTokens
from tests.app.door.entra.tenant import AUDIENCE, TENANT, KeyServer, token
from tests.kit.hub import HubReader
from tests.kit.proxy import KEY
from tests.kit.upstream import ScriptedUpstream
from tests.kit.wire import CHAT, chat_body, chat_json, client

NOW = int(time.time())

SECRET = "planted-secret"


@pytest.fixture
def through(upstream: Any, proxy: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Start a proxy that accepts tokens; returns it, its upstream and the discovery host."""

    def start(**more: str) -> tuple[Any, ScriptedUpstream, KeyServer]:
        host = KeyServer(upstream)
        monkeypatch.setattr("app.main.EntraTokens", partial(EntraTokens, authority=host.server.url))
        server = upstream(lambda request, reply: reply.json(chat_json()))
        more = {"PROXY_ENTRA_TENANT": TENANT.upper(), "PROXY_ENTRA_AUDIENCE": AUDIENCE, **more}
        return proxy(server.url, **more), server, host

    return start


def test_a_token_names_the_caller(through: Any, hub: HubReader, caplog: pytest.LogCaptureFixture) -> None:
    """The record has the token's ids, whatever headers say; the token itself appears nowhere."""
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


def test_a_refused_token_is_an_openai_error(through: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A bad token is a 401 in OpenAI's shape that repeats nothing; keys still work; upstream sees neither."""
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


def test_an_entra_id_outage_is_a_503_for_tokens_only(through: Any) -> None:
    """Callers with keys do not notice; callers with tokens learn that it is not their fault."""
    running, _, host = through()
    host.raw = (500, b"")
    with client(running.url) as caller:
        refused = caller.send("POST", CHAT, chat_body(), api_key="", authorization=f"Bearer {token()}")
        assert (refused.status, json.loads(refused.read())["error"]["code"]) == (503, "identity_unavailable")
        assert caller.send("POST", CHAT, chat_body(), authorization=f"Bearer {token()}").status == 200


def test_tokens_work_without_client_keys(through: Any) -> None:
    """Entra ID without client keys does not allow anonymous access."""
    running, _, _ = through(PROXY_CLIENT_KEYS="")
    with client(running.url) as caller:
        refused = caller.send("POST", CHAT, chat_body())
        assert (refused.status, json.loads(refused.read())["error"]["code"]) == (401, "invalid_api_key")
        assert caller.send("POST", CHAT, chat_body(), authorization=f"Bearer {token()}").status == 200
