"""Caller headers: they name the caller in the record and do not reach upstream."""

import json
from typing import Any

import pytest

from tests.kit.hub import HubReader
from tests.kit.upstream import ScriptedUpstream
from tests.kit.wire import AZURE_HEADERS, CHAT, chat_json, client

DEFAULT = {
    "x_apim_subscription_id": ("subscription_id", "sub-1"),
    "x_apim_product": ("product", "gold"),
    "x_apim_user_id": ("user_id", "user-7"),
    "x_apim_app_id": ("app_id", "app-3"),
    "x_session_id": ("session_id", "session-9"),
}


@pytest.fixture
def answering(upstream: Any) -> ScriptedUpstream:
    """An upstream whose response has no x-ms-client-request-id."""
    headers = {name: value for name, value in AZURE_HEADERS.items() if name != "x-ms-client-request-id"}
    server: ScriptedUpstream = upstream(lambda request, reply: reply.json(chat_json(), headers=headers))
    return server


def test_trusted_headers_name_the_caller(answering: ScriptedUpstream, proxy: Any, hub: HubReader) -> None:
    """Each default header becomes a field of the record's caller, and none goes upstream."""
    sent = {name: value for name, (_, value) in DEFAULT.items()}
    with client(proxy(answering.url).url) as caller:
        answer = caller.chat(False, **sent, x_other="kept")
        answer.read()
    assert hub.record(answer.trace_id)["caller"] == dict(DEFAULT.values())
    (seen,) = answering.seen
    names = {name.lower() for name, _ in seen.headers}
    assert names.isdisjoint(name.replace("_", "-") for name in DEFAULT)
    assert "x-other" in names


def test_absent_headers_are_no_fields(answering: ScriptedUpstream, proxy: Any, hub: HubReader) -> None:
    """The caller has only the fields whose headers were sent; without any there is no caller."""
    with client(proxy(answering.url).url) as caller:
        some = caller.chat(x_apim_product="Größe ✨".encode().decode("latin-1"))
        some.read()
        none = caller.chat()
        none.read()
    assert hub.record(some.trace_id)["caller"] == {"product": "Größe ✨"}
    assert "caller" not in hub.record(none.trace_id)


def test_caller_headers_can_be_configured(answering: ScriptedUpstream, proxy: Any, hub: HubReader) -> None:
    """PROXY_CALLER_HEADERS replaces the defaults: only its headers are fields."""
    running = proxy(answering.url, PROXY_CALLER_HEADERS="team=X-Team, session_id=x-conversation")
    with client(running.url) as caller:
        answer = caller.chat(x_team="search", x_conversation="c-1", x_apim_product="gold")
        answer.read()
    assert hub.record(answer.trace_id)["caller"] == {"team": "search", "session_id": "c-1"}
    (seen,) = answering.seen
    assert seen.header("x-team") is None
    assert seen.header("x-conversation") is None
    assert seen.header("x-apim-product") == "gold"


def test_the_clients_request_id_is_kept(answering: ScriptedUpstream, proxy: Any, hub: HubReader) -> None:
    """x-ms-client-request-id is sent upstream, and recorded from the request if upstream does not return it."""
    with client(proxy(answering.url).url) as caller:
        answer = caller.chat(x_ms_client_request_id="request-5")
        answer.read()
    assert hub.record(answer.trace_id)["client_request_id"] == "request-5"
    assert answering.seen[0].header("x-ms-client-request-id") == "request-5"


def test_upstreams_request_id_takes_precedence(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """The id in upstream's response is the one in upstream's logs."""
    server = upstream(lambda request, reply: reply.json(chat_json(), headers=AZURE_HEADERS))
    with client(proxy(server.url).url) as caller:
        answer = caller.chat(x_ms_client_request_id="request-5")
        answer.read()
    assert hub.record(answer.trace_id)["client_request_id"] == AZURE_HEADERS["x-ms-client-request-id"]


def test_a_failed_call_keeps_the_clients_request_id(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """A call without a response can still be found by its client's id."""

    async def script(request: Any, reply: Any) -> None:
        reply.reset()

    with client(proxy(upstream(script).url).url) as caller:
        answer = caller.chat(x_ms_client_request_id="request-6", x_apim_product="gold")
        assert answer.status == 502
        answer.read()
    record = hub.record(answer.trace_id)
    assert (record["client_request_id"], record["caller"]) == ("request-6", {"product": "gold"})


def test_a_body_names_the_caller(answering: ScriptedUpstream, proxy: Any, hub: HubReader) -> None:
    """PROXY_CALLER_BODY names members of the body, whatever the content policy; a header of the same field wins."""
    running = proxy(
        answering.url, PROXY_CALLER_BODY="user_id=user,team=metadata.team,end_user=user", PROXY_CONTENT="none"
    )
    body = json.dumps({"messages": [], "user": "u-1", "metadata": {"team": "red"}}).encode()
    with client(running.url) as caller:
        answer = caller.send("POST", CHAT, body, x_apim_user_id="trusted")
        answer.read()
    assert hub.record(answer.trace_id)["caller"] == {"user_id": "trusted", "team": "red", "end_user": "u-1"}
    assert answering.seen[0].body == body


def test_baggage_names_the_caller(answering: ScriptedUpstream, proxy: Any, hub: HubReader) -> None:
    """A member of baggage that PROXY_CALLER_HEADERS names is a field; baggage then ends here."""
    running = proxy(answering.url, PROXY_CALLER_HEADERS="team=baggage,shop=baggage.cost-centre")
    with client(running.url) as caller:
        answer = caller.chat(baggage="team=search;p=1,cost-centre=4%2C2,other=1")
        answer.read()
    assert hub.record(answer.trace_id)["caller"] == {"team": "search", "shop": "4,2"}
    assert answering.seen[0].header("baggage") is None
