"""Refusals: their status and shape, and that nothing reaches upstream."""

import json
from typing import Any

import pytest

from app.operations import Plain
from app.operations.chat import Chat
from app.operations.openai import OPENAI
from tests.app.door.conftest import CHAT_PATH, Door
from tests.kit.hub import HubReader
from tests.kit.proxy import KEY
from tests.kit.scripts import answering
from tests.kit.wire import CHAT, chat_body, client


@pytest.mark.parametrize(
    ("path", "deployment", "v1", "known"),
    [
        ("/openai/deployments/d/chat/completions", "d", False, True),
        ("/openai/v1/chat/completions", None, True, True),
        ("/openai/deployments/d/chat/completions/extra", "d", False, False),
        ("/openai/deployments/d/", "d", False, False),
        ("/openai/deployments", None, False, False),
        ("/openai/files/1/content", None, False, False),
        ("/openai/v1/", None, True, False),
        ("/openai/", None, False, False),
    ],
)
def test_every_path_under_openai_has_a_target(path: str, deployment: str | None, v1: bool, known: bool) -> None:
    """A path names deployment and operation; an unknown operation is a plain call, never an error."""
    target = OPENAI.target(path)
    assert (target.deployment, target.takes_api_version) == (deployment, not v1)
    assert isinstance(OPENAI.operation(target), Chat if known else Plain)


def test_a_missing_or_wrong_key_is_a_401(door: Door) -> None:
    """No key, a wrong one, or the right one under another scheme: 401 with www-authenticate."""
    wrong = [
        {},
        {"api_key": "wrong"},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Basic {KEY}"},
        {"authorization": KEY},
        {"ocp_apim_subscription_key": KEY},
    ]
    for times, headers in enumerate(wrong, 1):
        got = door.ask("POST", CHAT, chat_body(), **{"api_key": "", **headers})
        door.check(got, 401, "invalid_api_key", times)
        assert got.answer.header("www-authenticate") == "Bearer"
        assert KEY.encode() not in got.body


def test_other_paths_are_a_404(door: Door) -> None:
    """A path outside /openai/ is a 404, with or without a key."""
    outside = ["/", "/openai", "/docs", "/openapi.json", "/v1/chat/completions", "/health", "*"]
    for number, target in enumerate(outside):
        door.check(door.ask("GET", target), 404, "not_found", 2 * number + 1)
        door.check(door.ask("POST", target, chat_body(), api_key=""), 404, "not_found", 2 * number + 2)


def test_unknown_health_paths_are_a_404(door: Door) -> None:
    """Only /health/live and /health/ready exist."""
    beside = ["/health/", "/health/other", "/health/live/", "/health/ready/x", "/health/../live"]
    for times, target in enumerate(beside, 1):
        door.check(door.ask("GET", target, api_key=""), 404, "not_found", times)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"])
def test_a_deployments_chat_accepts_only_post(door: Door, method: str) -> None:
    """Another method on a deployment's known operation is a 405; the response to HEAD has no body."""
    got = door.ask(method, CHAT)
    if method == "HEAD":
        assert (got.status, got.body) == (405, b"")
        door.check_trace(got)
        assert door.counted() == {"method_not_allowed": 1}
    else:
        door.check(got, 405, "method_not_allowed")


def test_trace_is_refused(door: Door) -> None:
    """The response to TRACE would disclose our upstream credential to the client: 405 on every path."""
    door.check(door.ask("TRACE", "/openai/models"), 405, "method_not_allowed")


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "GET", "DELETE"])
def test_other_operations_accept_any_method(door: Door, method: str) -> None:
    """Upstream decides about other methods; GET on v1's chat/completions lists stored completions."""
    for target in ("/openai/models", "/openai/v1/chat/completions"):
        assert door.ask(method, target).status == 200
    assert [seen.method for seen in door.upstream.seen] == [method] * 2
    assert door.counted() == {}


def test_a_declared_length_past_the_limit_is_a_413(door: Door) -> None:
    """413 before a byte of the body is read, on known operations and others."""
    for times, path in enumerate((CHAT_PATH, "/openai/files"), 1):
        got = door.post(b"content-length: 300001", body=b"", path=path)
        door.check(got, 413, "request_too_large", times)


def test_a_chunked_body_past_the_limit_is_a_413(door: Door) -> None:
    """A chunked body is cut off at the limit, and upstream never gets a complete request."""
    pieces = [b" " * 100_000] * 4
    door.check(door.ask("POST", CHAT, iter(pieces)), 413, "request_too_large")
    assert door.ask("POST", "/openai/files", iter(pieces)).status == 413
    assert door.upstream.seen == []


def test_an_upload_refused_midway_is_a_refusal_like_any_other(door: Door, hub: HubReader) -> None:
    """Its size shows only after the call began: it is counted once, its spans say why, and it has no record."""
    got = door.ask("POST", "/openai/files", iter([b" " * 100_000] * 4))
    assert json.loads(got.body)["error"]["code"] == "request_too_large"
    assert door.counted() == {"request_too_large": 1}
    (call,) = [one for one in door.running.spans.of_trace(got.answer.trace_id, 2) if one.kind.name == "CLIENT"]
    assert call.attributes is not None
    assert (call.attributes["proxy.status"], call.attributes["proxy.error.code"]) == ("refused", "request_too_large")
    later = [door.ask("GET", "/openai/models").answer.trace_id for _ in range(3)]
    recorded = {hub.record(trace)["trace_id"] for trace in later}
    assert recorded == set(later)
    assert got.answer.trace_id not in {record["trace_id"] for record in hub.all()}


def test_an_incomplete_body_is_a_408(upstream: Any, proxy: Any) -> None:
    """A client that stops in the middle of its body gets a 408 after PROXY_MAX_SECONDS."""
    server = upstream(answering)
    door = Door(proxy(server.url, PROXY_MAX_SECONDS="0.5"), server)
    door.check(door.post(b"content-length: 100", body=b"{"), 408, "request_timeout")


def test_a_body_that_is_not_a_json_object_is_a_400(door: Door) -> None:
    """A known operation accepts only a JSON object; the error does not repeat the body."""
    bodies = [
        *(b"", b" ", b"[]", b'"text"', b"1", b"null", b"planted", b'{"messages": [}', b'{"messages": []'),
        *(b'{"messages": []}{}', b"{'messages': []}", b'{"messages": NaN}', b'{"planted": "\xff"}'),
        *(b'{"messages": "\xed\xa0\x80"}', '{"messages": []}'.encode("utf-16"), '{"a": []}'.encode("utf-16-le")),
        b'{"messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ]
    for times, body in enumerate(bodies, 1):
        got = door.ask("POST", CHAT, body)
        door.check(got, 400, "invalid_body", times)
        assert len(got.body) < 300
        assert b"planted" not in got.body


def test_unusual_json_is_passed_on(door: Door) -> None:
    """Valid JSON passes unchanged, however deep, however large its numbers, whatever its strings."""
    bodies = [
        b"{}",
        b"\xef\xbb\xbf{}",
        b'{"messages": ' + b"[" * 3000 + b"]" * 3000 + b"}",
        b'{"messages": 1e999, "temperature": 1' + b"0" * 400 + b"}",
        b'{"messages": "\\ud800", "model": "\\ud800", "stop": "\\ud800"}',
    ]
    assert [door.ask("POST", CHAT, body).status for body in bodies] == [200] * len(bodies)
    assert [seen.body for seen in door.upstream.seen] == bodies


def test_the_connection_is_usable_after_a_refusal(door: Door) -> None:
    """The next request on the same connection is served, whatever the refused one contained."""
    with client(door.running.url) as caller:
        for bad in ({"api_key": "wrong"}, {"body": b"x" * 5000}, {"body": b"x" * 300_001}, {"target": "/other"}):
            target, body = bad.pop("target", CHAT), bad.pop("body", chat_body())
            refused = caller.send("POST", target, body, **bad)  # type: ignore[arg-type]
            assert refused.status >= 400
            refused.read()
            good = caller.chat()
            assert (good.status, good.read()) == (200, b"{}")
    assert len(door.upstream.seen) == 4
