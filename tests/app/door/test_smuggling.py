"""Path traversal and request smuggling: no path leaves /openai/, and no request becomes two."""

import asyncio

import pytest

from app.door import door as door_of_app
from app.door.auth import Access, ClientKeys
from app.door.caller import CallerFields
from app.operations.openai import OPENAI
from tests.app.door.conftest import CHAT_PATH, Door
from tests.kit.proxy import KEY


def test_no_path_leaves_openai(door: Door) -> None:
    """No path that any server might resolve to one outside /openai/ reaches upstream."""
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


def test_harmless_special_characters_pass(door: Door) -> None:
    """Dots, escapes and colons within a segment arrive unchanged."""
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


def test_the_host_of_an_absolute_target_is_ignored(door: Door) -> None:
    """Whatever host a request's target names, the call goes to the configured upstream."""
    assert door.target(b"http://evil.example:1/openai/models?a=b").status == 200
    (seen,) = door.upstream.seen
    assert seen.target == "/openai/models?a=b"
    assert seen.header("host") == f"127.0.0.1:{door.upstream.port}"


CHUNKED = b"transfer-encoding: chunked"

ONE_CHUNK = b"2\r\n{}\r\n0\r\n\r\n"


@pytest.mark.parametrize("path", [CHAT_PATH, "/openai/files"])
def test_ambiguous_requests_are_refused(door: Door, path: str) -> None:
    """A request that two servers could parse differently is refused, and nothing reaches upstream."""
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


@pytest.mark.parametrize("offer", [b"", b"connection: upgrade\r\nupgrade: h2c\r\n"], ids=["plain", "offer"])
@pytest.mark.parametrize("path", [CHAT_PATH, "/openai/files"])
def test_a_transfer_encoding_other_than_chunked_is_refused(door: Door, path: str, offer: bytes) -> None:
    """Where a coding leaves open how the body ends or reads, nothing is taken from it, and the connection closes."""
    head = b"POST %b HTTP/1.1\r\nhost: x\r\napi-key: %b\r\n" % (path.encode(), KEY.encode()) + offer
    second = b"GET /openai/smuggled HTTP/1.1\r\nhost: x\r\napi-key: %b\r\n\r\n" % KEY.encode()
    codings = [b"gzip", b"identity", b"xchunked", b"chunked, gzip", b"chunked, chunked", b"chunked;a=b", b"chunked,"]
    for coding, status in [*((coding, 400) for coding in codings), (b"gzip, chunked", 501)]:
        for fields in (b"transfer-encoding: " + coding, b"\r\n".join(_apart(coding))):
            for end in (ONE_CHUNK + second, b""):  # the head alone is enough for a refusal
                got = door.raw(head + fields + b"\r\n\r\n" + end)
                assert (coding, got.status, got.answer.header("connection")) == (coding, status, "close")
    old = door.raw(head.replace(b"HTTP/1.1", b"HTTP/1.0") + CHUNKED + b"\r\n\r\n" + ONE_CHUNK)
    assert old.status == 400
    assert door.upstream.seen == []


@pytest.mark.parametrize("version", [b"HTTP/0.9", b"HTTP/2.0"])
def test_other_versions_are_refused(door: Door, version: bytes) -> None:
    """A request of a version that is not served here is not answered as if it were."""
    got = door.raw(b"GET /openai/files " + version + b"\r\nhost: a\r\napi-key: " + KEY.encode() + b"\r\n\r\n")
    assert (got.status, door.upstream.seen) == (400, [])


def test_a_request_has_one_host(door: Door) -> None:
    """A request with two is refused (RFC 9112 §3.2); one without passes, as simple probes send it."""
    key = b"api-key: " + KEY.encode() + b"\r\n\r\n"
    for hosts in (b"host: a\r\nhost: b\r\n", b"Host: a\r\nhost: a\r\n"):
        assert door.raw(b"GET /openai/files HTTP/1.1\r\n" + hosts + key).status == 400
    assert door.upstream.seen == []
    for version in (b"1.0", b"1.1"):
        assert door.raw(b"GET /openai/files HTTP/" + version + b"\r\n" + key).status == 200


def _apart(codings: bytes) -> list[bytes]:
    """A header for each coding."""
    return [b"transfer-encoding: " + coding.strip() for coding in codings.split(b",")]


def test_a_content_length_beside_chunks_is_dropped() -> None:
    """A server that accepts both follows the chunks; so must the request upstream."""
    headers = [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")]
    door = door_of_app.Door(Access(ClientKeys([])), CallerFields({}, {}), None, capture_content=True)
    scope = {"type": "http", "method": "POST", "path": "/openai/files", "query_string": b"", "headers": headers}
    admitted = asyncio.run(door.admit(scope, OPENAI))
    assert (admitted.content_length, admitted.has_body) == (None, True)


def test_bytes_after_a_body_are_a_separate_request(door: Door) -> None:
    """Bytes after a body are another request, which needs its own key."""
    second = b"GET /openai/smuggled HTTP/1.1\r\nhost: x\r\n\r\n"
    assert door.post(b"content-length: 2", body=b"{}" + second).status == 200
    assert [seen.target for seen in door.upstream.seen] == [CHAT_PATH]
