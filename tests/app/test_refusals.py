"""The door: what is refused, in which shape, and that nothing of it reaches upstream."""

import http.client
import json
import re
import socket
from dataclasses import dataclass
from typing import Any

import pytest

from app.operations import Chat, Plain, find_operation, target_of
from tests.kit.proxy import KEY, ProxyThread
from tests.kit.upstream import Reply, ScriptedUpstream, Seen
from tests.kit.wire import CHAT, Answer, chat_body, client

CHAT_PATH = CHAT.partition("?")[0]


@dataclass
class Got:
    """An answer that was read to its end."""

    answer: Answer
    body: bytes

    @property
    def status(self) -> int:
        return self.answer.status


@dataclass
class Door:
    """A proxy, the upstream behind it, and ways to knock."""

    running: ProxyThread
    upstream: ScriptedUpstream

    def ask(self, method: str, target: str, body: Any = None, **headers: str) -> Got:
        with client(self.running.url) as caller:
            answer = caller.send(method, target, body, **headers)
            return Got(answer, answer.read())

    def raw(self, data: bytes, method: str = "GET") -> Got:
        """Send bytes that no HTTP client would, and take one answer."""
        with socket.create_connection(("127.0.0.1", self.running.port), 30) as connection:
            connection.sendall(data)
            response = http.client.HTTPResponse(connection, method=method)
            response.begin()
            return Got(Answer(response), response.read())

    def target(self, target: bytes) -> Got:
        """GET something by its bytes."""
        return self.raw(b"GET " + target + b" HTTP/1.1\r\nhost: proxy\r\napi-key: " + KEY.encode() + b"\r\n\r\n")

    def post(self, *fields: bytes, body: bytes = b"{}", path: str = CHAT_PATH) -> Got:
        """POST with these header lines, as they are."""
        head = [b"POST " + path.encode() + b" HTTP/1.1", b"host: proxy", b"api-key: " + KEY.encode(), *fields]
        return self.raw(b"\r\n".join(head) + b"\r\n\r\n" + body)

    def counted(self) -> dict[str, int]:
        refused: dict[str, int] = json.loads(self.ask("GET", "/health/ready").body)["refused"]
        return refused

    def check(self, got: Got, status: int, code: str, times: int = 1) -> None:
        """A refusal as it must be, the `times`-th of its code: shape, trace, spans, counter, and no call upstream."""
        assert got.status == status
        assert got.answer.header("content-type") == "application/json"
        error = json.loads(got.body)["error"]
        assert set(error) == {"message", "type", "code", "param"}
        assert error["code"] == code
        assert error["type"]
        assert error["message"]
        self.check_trace(got)
        assert self.counted() == {code: times}

    def check_trace(self, got: Got) -> None:
        assert re.fullmatch("[0-9a-f]{32}", got.answer.trace_id)
        assert got.answer.trace_id != "0" * 32
        assert [span.kind.name for span in self.running.spans.of_trace(got.answer.trace_id, 1)] == ["SERVER"]
        assert self.upstream.seen == []


@pytest.fixture
def door(upstream: Any, proxy: Any) -> Door:
    """A door with a small limit on bodies."""

    async def answering(request: Seen, reply: Reply) -> None:
        if request.method == "HEAD":
            await reply.head(200, {"content-length": "2"})
        else:
            await reply.json(b"{}")

    server = upstream(answering)
    return Door(proxy(server.url, PROXY_MAX_REQUEST_BYTES="300000"), server)


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
    """A path names deployment and operation; what is no known operation is a plain call, and none is a fault."""
    target = target_of(path)
    assert (target.deployment, target.v1) == (deployment, v1)
    assert isinstance(find_operation(target), Chat if known else Plain)


def test_without_a_key_nobody_enters(door: Door) -> None:
    """No key, a wrong one, or the right one under another scheme: 401, with the scheme that would do."""
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


def test_outside_is_nothing(door: Door) -> None:
    """A path outside /openai/ is a 404, with or without a key."""
    outside = ["/", "/openai", "/docs", "/openapi.json", "/v1/chat/completions", "/health", "*"]
    for number, target in enumerate(outside):
        door.check(door.ask("GET", target), 404, "not_found", 2 * number + 1)
        door.check(door.ask("POST", target, chat_body(), api_key=""), 404, "not_found", 2 * number + 2)


def test_unknown_health_paths_are_nothing(door: Door) -> None:
    """Only /health/live and /health/ready are there; another path beside them is a 404 like any other."""
    beside = ["/health/", "/health/other", "/health/live/", "/health/ready/x", "/health/../live"]
    for times, target in enumerate(beside, 1):
        door.check(door.ask("GET", target, api_key=""), 404, "not_found", times)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"])
def test_a_deployments_chat_takes_post_only(door: Door, method: str) -> None:
    """Another method on a known operation of a deployment is a 405; HEAD's has no body."""
    got = door.ask(method, CHAT)
    if method == "HEAD":
        assert (got.status, got.body) == (405, b"")
        door.check_trace(got)
        assert door.counted() == {"method_not_allowed": 1}
    else:
        door.check(got, 405, "method_not_allowed")


def test_trace_is_never_passed_on(door: Door) -> None:
    """An upstream that answers TRACE would repeat our credential to the client: 405 wherever it goes."""
    door.check(door.ask("TRACE", "/openai/models"), 405, "method_not_allowed")


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "GET", "DELETE"])
def test_other_paths_take_any_method(door: Door, method: str) -> None:
    """Elsewhere the method is upstream's to judge, and GET on v1's chat/completions lists stored ones."""
    for target in ("/openai/models", "/openai/v1/chat/completions"):
        assert door.ask(method, target).status == 200
    assert [seen.method for seen in door.upstream.seen] == [method] * 2
    assert door.counted() == {}


def test_a_declared_size_past_the_limit(door: Door) -> None:
    """413 before a byte of the body is read, on known operations and others."""
    for times, path in enumerate((CHAT_PATH, "/openai/files"), 1):
        got = door.post(b"content-length: 300001", body=b"", path=path)
        door.check(got, 413, "request_too_large", times)


def test_a_body_that_grows_past_the_limit(door: Door) -> None:
    """A chunked body is stopped at the limit: 413, and upstream never sees a whole request."""
    pieces = [b" " * 100_000] * 4
    door.check(door.ask("POST", CHAT, iter(pieces)), 413, "request_too_large")
    assert door.ask("POST", "/openai/files", iter(pieces)).status == 413
    assert door.upstream.seen == []


def test_a_body_that_is_no_json_object(door: Door) -> None:
    """A known operation takes a JSON object: 400 for anything else, and what was sent is not repeated."""
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


def test_odd_json_is_for_upstream_to_judge(door: Door) -> None:
    """Valid JSON passes as it is, however deep, however large its numbers, whatever its strings."""
    bodies = [
        b"{}",
        b"\xef\xbb\xbf{}",
        b'{"messages": ' + b"[" * 3000 + b"]" * 3000 + b"}",
        b'{"messages": 1e999, "temperature": 1' + b"0" * 400 + b"}",
        b'{"messages": "\\ud800", "model": "\\ud800", "stop": "\\ud800"}',
    ]
    assert [door.ask("POST", CHAT, body).status for body in bodies] == [200] * len(bodies)
    assert [seen.body for seen in door.upstream.seen] == bodies


def test_a_refusal_leaves_the_connection_in_order(door: Door) -> None:
    """The next request on the same connection is served, whatever the last one brought along."""
    with client(door.running.url) as caller:
        for bad in ({"api_key": "wrong"}, {"body": b"x" * 5000}, {"body": b"x" * 300_001}, {"target": "/other"}):
            target, body = bad.pop("target", CHAT), bad.pop("body", chat_body())
            refused = caller.send("POST", target, body, **bad)  # type: ignore[arg-type]
            assert refused.status >= 400
            refused.read()
            good = caller.chat()
            assert (good.status, good.read()) == (200, b"{}")
    assert len(door.upstream.seen) == 4


def test_no_path_leads_out(door: Door) -> None:
    """No spelling of a path that anyone could read as leading out of /openai/ reaches upstream."""
    tricks = [
        *(b"/openai/..", b"/openai/../x", b"/openai/x/../../x", b"/openai/.", b"/openai/./x", b"/openai/x/.."),
        *(b"//openai/x", b"/openai//x", b"//evil.example/openai/x", b"///openai/x", b"/openai//"),
        *(b"/openai/%2e%2e/x", b"/openai/%2E./x", b"/openai/.%2e", b"/%2e/openai/x"),
        *(b"/openai%2F..%2Fx", b"/openai%2fx", b"/openai/x%2Fy", b"/openai/..%2Fx", b"/openai/%2f..%2f.."),
        *(b"/openai/%5c..%5cx", b"/openai/..\\x", b"/openai\\x", b"/openai/x%5Cy", b"\\openai/x"),
        *(b"/openai/%252e%252e/x", b"/openai/%252Fx", b"/openai/x%25", b"/openai/%", b"/openai/%zz", b"/openai/%u002e"),
        *(b"/openai/..;/x", b"/openai/..;a=b/x", b"/openai/.;/x", b"/openai/%2e%2e%3b/x"),
        *(b"/openai/%c0%ae%c0%ae/x", b"/openai/%c0%af", b"/openai/%ff", b"/openai/%e0%80%ae"),
        *(b"/openai/%00", b"/openai/x%00.y", b"/openai/x%0d%0ax-smuggled:%201", b"/openai/x%0a", b"/openai/%7f"),
        *(b"/openai/x\x01", b"/openai/x\x7f", b"/openai/\t", b"/openai/x y", b"/openai/\xc3\xa9", b"/openai/\xff"),
        *(b"http://evil.example/", b"http://evil.example/x/../openai/x", b"http://evil.example//openai/x"),
        *(b"*", b"openai/x", b"/%6fpenai/x", b"/OPENAI/x", b"/health/../openai/x", b"/x/../openai/x", b"?/openai/x"),
    ]
    answered = {trick: door.target(trick).status for trick in tricks}
    assert {trick: status for trick, status in answered.items() if status not in (404, 400)} == {}
    assert door.upstream.seen == []
    assert door.counted() == {"not_found": list(answered.values()).count(404)}


def test_what_only_looks_like_a_trick_passes(door: Door) -> None:
    """Dots, escapes and colons within a name are names; they arrive as they were written."""
    fine = [
        "/openai/a..b",
        "/openai/...",
        "/openai/..a",
        "/openai/%c3%a9",
        "/openai/a%20b",
        "/openai/a:b;c=d",
        "/openai/",
    ]
    fine += ["/openai/x?a=../..&b=%2F%0d%0a&c=//", "/openai/x?%zz=%", "/openai/a%3Fb%23c"]
    assert [door.ask("GET", target).status for target in fine] == [200] * len(fine)
    assert [seen.target for seen in door.upstream.seen] == fine


def test_an_absolute_target_names_a_path_and_no_host(door: Door) -> None:
    """Whatever host a request's target names, the call goes to the one that is configured."""
    assert door.target(b"http://evil.example:1/openai/models?a=b").status == 200
    (seen,) = door.upstream.seen
    assert seen.target == "/openai/models?a=b"
    assert seen.header("host") == f"127.0.0.1:{door.upstream.port}"


CHUNKED = b"transfer-encoding: chunked"
ONE_CHUNK = b"2\r\n{}\r\n0\r\n\r\n"


@pytest.mark.parametrize("path", [CHAT_PATH, "/openai/files"])
def test_nothing_is_smuggled(door: Door, path: str) -> None:
    """A request that two servers could read in two ways is refused, and nothing of it reaches upstream."""
    second = b"GET /openai/smuggled HTTP/1.1\r\nhost: x\r\napi-key: " + KEY.encode() + b"\r\n\r\n"
    statuses = {
        name: door.post(*fields, body=body, path=path).status
        for name, fields, body in [
            ("two lengths", [b"content-length: 2", b"content-length: %d" % (2 + len(second))], b"{}" + second),
            ("one length twice", [b"content-length: 2", b"content-length: 2"], b"{}"),
            ("a list of lengths", [b"content-length: 2, 2"], b"{}"),
            ("length and chunks", [b"content-length: %d" % len(ONE_CHUNK + second), CHUNKED], ONE_CHUNK + second),
            ("chunks and length", [CHUNKED, b"content-length: 5"], ONE_CHUNK + second),
            ("signed length", [b"content-length: +2"], b"{}"),
            ("no length", [b"content-length:"], b"{}"),
            ("odd coding", [b"transfer-encoding: xchunked"], ONE_CHUNK),
            ("chunked not last", [b"transfer-encoding: chunked, identity"], ONE_CHUNK + second),
            ("two codings", [CHUNKED, b"transfer-encoding: identity"], ONE_CHUNK + second),
            ("chunk size", [CHUNKED], b"-2\r\n{}\r\n0\r\n\r\n"),
            ("LF in a chunk's extension", [CHUNKED], b"2;a=\nb\r\n{}\r\n0\r\n\r\n"),
            ("CR in a value", [b"content-length: 2", b"x-a: b\rx-smuggled: c"], b"{}"),
            ("LF in a value", [b"content-length: 2", b"x-a: b\nx-smuggled: c"], b"{}"),
            ("folded line", [b"content-length: 2", b"x-a: b\r\n x-smuggled: c"], b"{}"),
            ("space before the colon", [b"content-length : 2"], b"{}"),
            ("NUL in a value", [b"content-length: 2", b"x-a: b\0c"], b"{}"),
            ("odd name", [b"content-length: 2", b"x-\xe9: c"], b"{}"),
        ]
    }
    assert {name: status for name, status in statuses.items() if status != 400} == {}
    assert door.upstream.seen == []


def test_what_follows_a_body_is_another_request(door: Door) -> None:
    """Bytes behind a body are a request of their own, which needs a key of its own."""
    second = b"GET /openai/smuggled HTTP/1.1\r\nhost: x\r\n\r\n"
    assert door.post(b"content-length: 2", body=b"{}" + second).status == 200
    assert [seen.target for seen in door.upstream.seen] == [CHAT_PATH]
