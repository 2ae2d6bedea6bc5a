"""Headers and query strings: what passes in each direction, and in which order."""

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.headers import HOP_BY_HOP, SECRET_QUERY, decoded, first, to_client, to_upstream, without_secrets
from tests.kit.upstream import Reply, Seen
from tests.kit.wire import client

CALLER = frozenset({b"x-apim-user-id"})

NAMES = st.sampled_from([b"accept", b"x-a", b"x-b", b"x-ms-client-request-id", b"openai-beta", b"user-agent"])
VALUES = st.text(st.characters(exclude_categories=["C"]), max_size=8).map(str.encode)


@settings(deadline=None)
@given(st.lists(st.tuples(NAMES, VALUES), max_size=8))
def test_other_headers_pass_unchanged(headers: list[tuple[bytes, bytes]]) -> None:
    """All other headers pass in both directions, with their order, repetitions and bytes."""
    assert to_upstream(headers, CALLER) == headers
    assert to_client(headers) == headers


@pytest.mark.parametrize(
    "name",
    [
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"),
        *("te", "trailer", "transfer-encoding", "upgrade", "http2-settings"),
        *("api-key", "authorization", "cookie", "ocp-apim-subscription-key", "x-functions-key", "x-functions-clientid"),
        *("x-arr-ssl", "x-original-url", "x-waws-unencoded-url"),
        *("x-ms-client-principal", "x-ms-client-principal-id", "x-ms-token-aad-id-token", "x-proxy-content"),
        *("host", "content-length", "expect", "traceparent", "tracestate", "x-ms-invocation-id"),
        "x-apim-user-id",
    ],
)
def test_upstream_never_sees(name: str) -> None:
    """Credentials, caller headers, hop-by-hop headers and those that are set again are dropped."""
    assert to_upstream([(b"accept", b"a"), (name.encode(), b"secret"), (b"x-a", b"1")], CALLER) == [
        (b"accept", b"a"),
        (b"x-a", b"1"),
    ]


@pytest.mark.parametrize("connection", [b"x-hop", b"close, X-Hop", b"close,x-hop ,x-other", b"\tx-hop"])
def test_headers_named_by_connection_are_dropped(connection: bytes) -> None:
    """In both directions and in any case (RFC 9110 §7.6.1)."""
    headers = [(b"connection", b"keep-alive"), (b"connection", connection), (b"x-hop", b"1"), (b"x-a", b"2")]
    assert to_upstream(headers, CALLER) == [(b"x-a", b"2")]
    assert to_client(headers) == [(b"x-a", b"2")]


@pytest.mark.parametrize("name", [*sorted(HOP_BY_HOP), b"api-key", b"authorization"])
def test_the_client_never_sees(name: bytes) -> None:
    """Hop-by-hop headers of upstream, and credentials, are dropped."""
    assert to_client([(name, b"x"), (b"content-length", b"5")]) == [(b"content-length", b"5")]


def test_values_are_utf_8_or_latin_1() -> None:
    """A value that is not UTF-8 is read as Latin-1."""
    assert decoded("Büro ✨".encode()) == "Büro ✨"
    assert decoded("Büro".encode("latin-1")) == "Büro"
    assert first([(b"x-b", b"0"), (b"x-a", "é".encode()), (b"x-a", b"2")], b"x-a") == "é"
    assert first([(b"x-b", b"0")], b"x-a") is None


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        (b"", b""),
        (b"api-version=2024-10-21", b"api-version=2024-10-21"),
        (b"code=s", b""),
        (b"code", b""),
        (b"a=1&code=s&b=2", b"a=1&b=2"),
        (b"code=s&code=s&api-version=1", b"api-version=1"),
        (b"subscription-key=s&sig=s&api-key=s", b""),
        (b"CODE=s&Subscription-Key=s", b""),
        (b"c%6Fde=s&%73ig=s&api%2dkey=s&subscription%2Dkey=s", b""),
        (b"code=s=s&x=y", b"x=y"),
        (b"codes=1&barcode=2&sign=3", b"codes=1&barcode=2&sign=3"),
        (b"a=code&b=%26code%3Ds&c=a+b%20c", b"a=code&b=%26code%3Ds&c=a+b%20c"),
        (b"&a=1&&b=%ff&", b"&a=1&&b=%ff&"),
    ],
)
def test_keys_are_removed_from_the_query(query: bytes, kept: bytes) -> None:
    """Parameters that carry keys are removed, however their names are encoded; the rest is unchanged."""
    assert without_secrets(query) == kept


@settings(deadline=None)
@given(
    name=st.sampled_from(sorted(SECRET_QUERY)),
    others=st.lists(st.binary(max_size=9).filter(lambda pair: b"&" not in pair), max_size=3),
    data=st.data(),
)
def test_no_encoding_of_a_key_parameter_passes(name: str, others: list[bytes], data: st.DataObject) -> None:
    """Any mix of case and percent-encoding of its name is recognized, at any position."""
    letters = [
        data.draw(st.sampled_from([letter, letter.upper(), f"%{ord(letter):02x}", quote(letter)])) for letter in name
    ]
    at = data.draw(st.integers(0, len(others)))
    pairs = [*others[:at], "".join(letters).encode() + b"=planted", *others[at:]]
    assert b"planted" not in without_secrets(b"&".join(pairs))


def test_an_echoing_upstream_does_not_disclose_the_key(upstream: Any, proxy: Any) -> None:
    """The client does not get the proxy's key from an upstream that returns its request's headers."""

    async def echo(request: Seen, reply: Reply) -> None:
        assert request.header("api-key") == "upstream-key-0"
        repeated = {name: value for name, value in request.headers if name.lower() not in ("host", "content-length")}
        await reply.json(b"{}", headers={**repeated, "X-Note": "kept"})

    with client(proxy(upstream(echo).url).url) as caller:
        answer = caller.chat()
        assert answer.read() == b"{}"
    assert answer.header("x-note") == "kept"
    assert "upstream-key-0" not in str(answer.headers)


def test_repeated_headers_keep_their_order(upstream: Any, proxy: Any) -> None:
    """Two Set-Cookie headers reach the client as two, in order; so do repeated headers to upstream."""

    async def script(request: Seen, reply: Reply) -> None:
        await reply.raw(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nSet-Cookie: a=1; Path=/\r\nX-Note: \xc3\xbc \xff\r\n"
            b"Set-Cookie: b=2\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nContent-Length: 2\r\n\r\nok"
        )

    server = upstream(script)
    given: list[tuple[str, str | bytes]] = [
        ("api-key", "client-key-0"),
        ("X-B", "1"),
        ("x-a", "ü".encode()),
        ("x-b", "2"),
    ]
    with client(proxy(server.url).url) as caller:
        caller.connection.putrequest("GET", "/openai/models", skip_accept_encoding=True)
        for name, value in given:
            caller.connection.putheader(name, value)
        caller.connection.endheaders()
        answer = caller.connection.getresponse()
        assert answer.read() == b"ok"
    received = [(name, value.encode("latin-1")) for name, value in answer.getheaders() if name != "x-trace-id"]
    assert received == [
        ("content-type", b"text/plain"),
        ("set-cookie", b"a=1; Path=/"),
        ("x-note", b"\xc3\xbc \xff"),
        ("set-cookie", b"b=2"),
        ("content-length", b"2"),
    ]
    (seen,) = server.seen
    sent = [(name, value.encode("latin-1")) for name, value in seen.headers if name.startswith("x-")]
    assert sent == [("x-b", b"1"), ("x-a", "ü".encode()), ("x-b", b"2")]
