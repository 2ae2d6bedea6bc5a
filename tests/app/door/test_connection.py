"""What a connection may not do to a request: change its protocol, or add headers behind its body."""

import json
import socket
import threading

import pytest

from tests.app.door.connections import BODY, FILES, closed_by_peer, connect, echo
from tests.app.relay.stage import Stage
from tests.app.relay.test_connections import answers, post
from tests.kit.hub import HubReader
from tests.kit.proxy import KEY
from tests.kit.upstream import Reply, Seen
from tests.kit.wire import CHAT

OFFERS = [
    ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"),
    ("connection: upgrade", "upgrade: h2c"),
    ("Connection: keep-alive, Upgrade", "Upgrade: TLS/1.0, HTTP/2.0"),
    ("Connection: Upgrade", "Upgrade: foo"),
    ("Connection: Upgrade", "Upgrade: websocket"),
    ("Upgrade: h2c",),
]


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("path", [CHAT, FILES])
def test_an_offer_to_upgrade_is_ignored(stage: Stage, path: str, offer: tuple[str, ...]) -> None:
    """A request that offers another protocol is served as it is, and so is the next one on its connection."""
    server = stage.play(echo)
    with connect(stage) as wire:
        for _ in range(2):
            wire.sendall(post(BODY, *offer, target=path))
            ((response, body),) = answers(wire, 1)
            assert response.status == 200
            assert json.loads(body) == ["POST", path, BODY.decode()]
    assert [(seen.method, seen.target, seen.body) for seen in server.seen] == [("POST", path, BODY)] * 2
    assert not any(seen.header(name) for seen in server.seen for name in ("upgrade", "http2-settings"))


@pytest.mark.parametrize("cut", [1, 60, 120, 200, 260])
def test_an_offer_is_ignored_however_its_bytes_come(stage: Stage, cut: int) -> None:
    """A head that comes in two reads, or a body after its head, is the same request."""
    server = stage.play(echo)
    request = post(BODY, *OFFERS[0])
    with connect(stage) as wire:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire.sendall(request[:cut])
        wire.sendall(request[cut:-1])
        wire.sendall(request[-1:])
        ((response, _),) = answers(wire, 1)
        assert response.status == 200
    assert [seen.body for seen in server.seen] == [BODY]


def test_a_body_behind_an_offer_is_no_request(stage: Stage) -> None:
    """A body that looks like a request goes upstream as the body that it is: one request, one response."""
    inner = b"GET /openai/models HTTP/1.1\r\nhost: x\r\napi-key: %b\r\n\r\n" % KEY.encode()
    server = stage.play(echo)
    with connect(stage) as wire:
        wire.sendall(post(inner, *OFFERS[0], target=FILES) + post(b"{}", target=FILES))
        taken = answers(wire, 2)
    assert [json.loads(body)[0] for _, body in taken] == ["POST", "POST"]
    assert [seen.body for seen in server.seen] == [inner, b"{}"]


def test_pipelined_offers_keep_their_order(stage: Stage) -> None:
    """Requests sent without waiting are answered one after the other, offers among them."""
    server = stage.play(echo)
    bodies = [b'{"n":%d}' % number for number in range(4)]
    with connect(stage) as wire:
        wire.sendall(b"".join(post(body, *OFFERS[number % 2], target=FILES) for number, body in enumerate(bodies)))
        taken = answers(wire, 4)
    assert [json.loads(body)[2].encode() for _, body in taken] == bodies
    assert [seen.body for seen in server.seen] == bodies


def test_connect_is_refused(stage: Stage) -> None:
    """CONNECT asks for a tunnel, which no server here gives."""
    server = stage.play(echo)
    with connect(stage) as wire:
        wire.sendall(b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n" + post(b"{}"))
        ((response, body),) = answers(wire, 1)
        assert (response.status, json.loads(body)["error"]["code"]) == (405, "method_not_allowed")
        assert wire.recv(1) == b""
    assert server.seen == []


TRAILERS = [b"x-apim-user-id: victim", b"api-key: " + KEY.encode(), b"content-encoding: gzip", b"x-proxy-content: none"]


def chunked(body: bytes, *trailers: bytes, key: bool = True, path: str = CHAT) -> bytes:
    head = [b"POST %b HTTP/1.1" % path.encode(), b"host: proxy", b"transfer-encoding: chunked", b"x-apim-user-id: me"]
    head += [b"api-key: " + KEY.encode()] if key else []
    end = [b"0", *trailers, b"", b""]
    return b"\r\n".join([*head, b"", b"%x" % len(body), body, *end])


@pytest.mark.parametrize("path", [CHAT, FILES])
def test_trailers_never_count(stage: Stage, hub: HubReader, path: str) -> None:
    """A field behind the body charges nobody, changes no reading of the body, and goes nowhere."""
    server = stage.play(echo)
    with connect(stage) as wire:
        wire.sendall(chunked(BODY, *TRAILERS, path=path))
        ((response, _),) = answers(wire, 1)
    assert response.status == 200
    record = hub.record(str(response.getheader("x-trace-id")))
    assert record["caller"]["user_id"] == "me"
    assert record["content_captured"] is True
    (seen,) = server.seen
    assert seen.body == BODY
    assert not any(seen.header(name) for name in ("x-apim-user-id", "content-encoding", "x-proxy-content"))


@pytest.mark.parametrize("trailer", [b"connection: close", b"Connection: upgrade", b"connection: keep-alive, close"])
def test_a_trailer_does_not_end_the_connection(stage: Stage, trailer: bytes) -> None:
    """A field behind the body says nothing of the connection: what comes next, in the same read or later, is served."""
    server = stage.play(echo)
    with connect(stage) as wire:
        wire.sendall(chunked(BODY, trailer, b"upgrade: h2c") * 2)
        assert [response.status for response, _ in answers(wire, 2)] == [200, 200]
        wire.sendall(chunked(BODY, trailer))
        assert [response.status for response, _ in answers(wire, 1)] == [200]
    assert [seen.body for seen in server.seen] == [BODY] * 3


def test_behind_a_request_that_closes_comes_no_other(stage: Stage) -> None:
    """After `connection: close` nothing is taken from the client, whatever it looks like."""
    server = stage.play(echo)
    for last in (post(BODY, "connection: close"), post(BODY, *OFFERS[0], "connection: close")):
        for more in (post(BODY), post(BODY, *OFFERS[0]), b"\x00", b"GET /" + b"a" * 100_000):
            with connect(stage) as wire:
                wire.sendall(last + more)
                ((response, _),) = answers(wire, 1)
                assert response.status == 200
                assert wire.recv(1) == b""
    assert [seen.body for seen in server.seen] == [BODY] * 8


def test_a_broken_body_behind_a_request_does_not_take_its_response(stage: Stage) -> None:
    """A body that is no HTTP, of a request whose turn has not come, takes no response from those before it."""
    server = stage.play(echo)
    broken = chunked(BODY, path=FILES).partition(b"\r\n\r\n")[0] + b"\r\n\r\nxyz\r\n"
    with connect(stage) as wire:
        wire.sendall(post(BODY) * 2 + broken)
        assert [response.status for response, _ in answers(wire, 2)] == [200, 200]
        assert wire.recv(1) == b""
    assert [seen.body for seen in server.seen] == [BODY] * 2


def test_a_client_that_leaves_ends_its_request_although_others_wait(stage: Stage) -> None:
    """Upstream learns that the client of a pipelined request is gone."""
    asked, told = threading.Event(), threading.Event()

    async def slow(request: Seen, reply: Reply) -> None:
        asked.set()
        await reply.hung_up()
        told.set()

    server = stage.play(slow)
    with connect(stage) as wire:
        wire.sendall(post(BODY) * 2)
        assert asked.wait(30)
    assert told.wait(30)
    assert len(server.seen) == 1


def test_a_bad_target_behind_a_request_does_not_take_its_response(stage: Stage) -> None:
    """A head that is no HTTP is refused only once the request before it is answered."""
    stage.play(echo)
    with connect(stage) as wire:
        wire.sendall(post(BODY) + b"GET http:// HTTP/1.1\r\nhost: a\r\n\r\n")
        received = closed_by_peer(wire)
    assert received.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 400" not in received


def test_no_trailer_lets_in(stage: Stage) -> None:
    """A key behind the body is no key."""
    server = stage.play(echo)
    with connect(stage) as wire:
        wire.sendall(chunked(BODY, *TRAILERS, key=False))
        ((response, _),) = answers(wire, 1)
    assert response.status == 401
    assert server.seen == []


def test_of_a_header_that_comes_twice_the_first_value_counts(stage: Stage, hub: HubReader) -> None:
    """Whoever adds a header behind the gateway's charges nobody else."""
    stage.play(echo)
    with connect(stage) as wire:
        wire.sendall(post(BODY, "x-apim-user-id: me", "x-apim-user-id: victim"))
        ((response, _),) = answers(wire, 1)
    assert hub.record(str(response.getheader("x-trace-id")))["caller"]["user_id"] == "me"
