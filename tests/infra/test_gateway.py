"""Calls through the policies of API Management to the real proxy."""

import asyncio
import base64
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from app.settings.caller import DEFAULT_HEADERS
from tests.conftest import StartProxy
from tests.infra.apim.gateway import Gateway, caller
from tests.infra.apim.policy import APIM, Policy
from tests.infra.test_policies import VALUES
from tests.kit.hub import HubReader
from tests.kit.upstream import Reply, Script, ScriptedUpstream, Seen
from tests.kit.wire import AZURE_HEADERS, DONE, Answer, Client, chat_json, client, delta

SUBSCRIBERS = {"key-of-red": caller("red", user="ruth"), "key-of-blue": caller("blue", "trial")}
CLAIMS = {
    "ruths-token": {"tid": "the-tenant", "aud": "the-audience", "oid": "ruths-object-id", "azp": "her-application"},
    "elsewhere": {"tid": "another-tenant", "aud": "the-audience", "oid": "someone"},
}
IDENTITY = {pair.partition("=")[2] for pair in DEFAULT_HEADERS.split(",")} - {"x-session-id"}
FORGED = {
    **dict.fromkeys(IDENTITY | {"x-apim-request-id"}, "forged"),
    "x-ms-invocation-id": "of-another-request",
    "x-functions-key": "guessed",
}

type Upstream = Callable[[Script], ScriptedUpstream]
type Behind = Callable[..., Any]


@pytest.fixture
def behind(upstream: Upstream, proxy: StartProxy) -> Behind:
    """`with behind(script, *options) as gateway`: API Management in front of a proxy that trusts its host."""

    @contextmanager
    def start(script: Script, *options: str, text: str | None = None, sampled: bool = True) -> Iterator[Gateway]:
        running = proxy(upstream(script).url, PROXY_CLIENT_KEYS="", FUNCTIONS_WORKER_RUNTIME="python")
        policy = Policy(VALUES, *options, text=text)
        with Gateway(policy, running.url, SUBSCRIBERS, CLAIMS, sampled) as gateway:
            yield gateway

    return start


async def answer(seen: Seen, reply: Reply) -> None:
    await reply.json(chat_json(), headers=AZURE_HEADERS)


def chat(to: Client, key: str = "key-of-red", **headers: str) -> Answer:
    return to.chat(False, api_key=key, **{name.replace("-", "_"): value for name, value in headers.items()})


def read(answered: Answer) -> Answer:
    """The same response, with its body read so that the connection can be reused."""
    answered.read()
    return answered


def test_the_gateway_identifies_the_caller(behind: Behind, hub: HubReader) -> None:
    """The record has the gateway's subscription, product and user, whatever the client sends in these headers, and the
    client's session; the host gets the gateway's key."""
    with behind(answer) as gateway, client(gateway.url) as to:
        answered = chat(to, **FORGED, **{"x-session-id": "s-1"})
        assert (answered.status, answered.read()) == (200, chat_json())
        (sent,) = gateway.sent
    found = {name: value for name, value in hub.record(answered.trace_id)["caller"].items() if value is not None}
    assert found == {"subscription_id": "red", "product": "azure-openai", "user_id": "ruth", "session_id": "s-1"}
    assert [value for name, value in sent.headers if name.lower() == "x-functions-key"] == ["the-function-key"]
    assert sent.header("x-ms-invocation-id") is None


def test_credentials_end_at_the_gateway(behind: Behind) -> None:
    """A client's subscription key, token or function key is not passed on, neither in a header nor in the query."""
    with behind(answer) as gateway, client(gateway.url) as to:
        target = (
            "/openai/deployments/d/chat/completions?api-version=2024-10-21&subscription-key=key-of-red&code=guessed"
        )
        answered = to.send("POST", target, b'{"messages": []}', api_key="", authorization="Bearer ruths-token")
        assert answered.status == 200
        answered.read()
        (sent,) = gateway.sent
    assert sent.query == [("api-version", "2024-10-21")]
    written = str(sent.headers)
    assert not [secret for secret in ("key-of-red", "ruths-token", "guessed") if secret in written]


@pytest.mark.parametrize("held", [False, True], ids=["as it is", "buffer-response=true"])
def test_streams_are_passed_on_as_they_arrive(behind: Behind, held: bool) -> None:
    """The client has a chunk before the next one is created; buffer-response=true would withhold it until the last."""
    seen_by_client = threading.Event()
    chunks = [delta({"content": word}) for word in ("Why", " not", "?")]
    arrived_before_next: list[bool] = []

    async def stream(seen: Seen, reply: Reply) -> None:
        await reply.stream_head()
        await reply.chunk(chunks[0])
        arrived_before_next.append(await asyncio.to_thread(seen_by_client.wait, 0.5 if held else 20.0))
        for chunk in (*chunks[1:], DONE):
            await reply.chunk(chunk)
        await reply.end()

    text = (APIM / "api.xml").read_text()
    if held:
        text = text.replace('buffer-response="false" />', 'buffer-response="true" />')
    with behind(stream, text=text) as gateway, client(gateway.url) as to:
        answered = to.chat(stream=True, api_key="key-of-red")
        body = answered.some()
        seen_by_client.set()
        assert body + answered.read() == b"".join([*chunks, DONE])
    assert arrived_before_next == [not held]


@pytest.mark.parametrize("flags", ["00", "01"])
def test_one_trace_from_client_to_upstream(behind: Behind, flags: str) -> None:
    """The client's trace continues through gateway and proxy, with its sampled flag."""
    trace_id, seen = uuid.uuid4().hex, []

    async def note(request: Seen, reply: Reply) -> None:
        seen.append(request.header("traceparent"))
        await answer(request, reply)

    with behind(note) as gateway, client(gateway.url) as to:
        answered = read(chat(to, traceparent=f"00-{trace_id}-b7ad6b7169203331-{flags}"))
        assert answered.trace_id == trace_id
    assert (seen[0][:35], seen[0][-2:]) == (f"00-{trace_id}", flags)
    assert "b7ad6b7169203331" not in seen[0]


@pytest.mark.parametrize("sampled", [True, False])
def test_the_gateways_sampling_decides(behind: Behind, hub: HubReader, sampled: bool) -> None:
    """If a trace starts at the gateway, its sampling reaches upstream; the record is written either way."""
    flags = []

    async def note(request: Seen, reply: Reply) -> None:
        flags.append((request.header("traceparent") or "")[-2:])
        await answer(request, reply)

    with behind(note, sampled=sampled) as gateway, client(gateway.url) as to:
        answered = read(chat(to))
    assert flags == [f"0{int(sampled)}"]
    assert hub.record(answered.trace_id)["status"] == "completed"


def test_retry_after_reaches_the_client(behind: Behind) -> None:
    """Azure OpenAI's 429 arrives with its body and its retry headers."""
    refusal = b'{"error": {"code": "429", "message": "Requests have exceeded the token rate limit."}}'
    wait = {"retry-after": "7", "retry-after-ms": "6500", "x-ratelimit-remaining-tokens": "0"}

    async def refuse(seen: Seen, reply: Reply) -> None:
        await reply.json(refusal, 429, wait)

    with behind(refuse) as gateway, client(gateway.url) as to:
        answered = chat(to)
        assert (answered.status, answered.read()) == (429, refusal)
        assert {name: answered.header(name) for name in wait} == wait


def test_a_token_identifies_the_user(behind: Behind, hub: HubReader) -> None:
    """If tokens are required, user and application are the token's, whoever owns the subscription; without one: 401."""
    with behind(answer, "token") as gateway, client(gateway.url) as to:
        for refused in ("", "Bearer elsewhere", f"Basic {base64.b64encode(b'ruth:ruths-token').decode()}"):
            assert read(chat(to, "key-of-blue", authorization=refused)).status == 401
        assert gateway.sent == []
        answered = read(chat(to, "key-of-blue", authorization="Bearer ruths-token", **FORGED))
    found = hub.record(answered.trace_id)["caller"]
    assert (found["subscription_id"], found["product"]) == ("blue", "trial")
    assert (found["user_id"], found["app_id"]) == ("ruths-object-id", "her-application")


def test_the_token_limit_is_per_subscription(behind: Behind) -> None:
    """A subscription over its limit gets 429 with Retry-After; others are unaffected."""
    with behind(answer, "token-limit") as gateway, client(gateway.url) as to:
        gateway.policy.use("red", 1000)
        refused = read(chat(to, "key-of-red"))
        assert (refused.status, refused.header("Retry-After")) == (429, "60")
        assert read(chat(to, "key-of-blue")).status == 200
