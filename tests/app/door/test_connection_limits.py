"""How long and how large a head may be, how long a connection may idle, and HTTP/1.0."""

import asyncio
import http.client
import json
import socket
import threading

import pytest

from app.door import connection
from tests.app.door.connections import BODY, FILES, closed_by_peer, connect, echo, refused
from tests.app.relay.stage import Stage
from tests.app.relay.test_connections import answers, post
from tests.kit.proxy import KEY
from tests.kit.scripts import streaming
from tests.kit.upstream import Reply, Seen
from tests.kit.wire import STREAM, chat_body


@pytest.mark.parametrize(
    "endless",
    [
        b"GET /" + b"a" * 200_000,
        b"GET / HTTP/1.1\r\nx-a: " + b"a" * 200_000,
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 40_000,
    ],
    ids=["URL", "header", "headers"],
)
def test_a_head_past_its_limit_is_refused(stage: Stage, endless: bytes) -> None:
    """A head over 64 KiB gets 431, whether it ends or not, and the connection closes."""
    for end in (b"", b" HTTP/1.1\r\n\r\n" if endless.startswith(b"GET /a") else b"\r\n\r\n"):
        before = refused(stage).get("request_header_fields_too_large", 0)
        with connect(stage) as wire:
            wire.sendall(endless + end)
            wire.shutdown(socket.SHUT_WR)
            response = http.client.HTTPResponse(wire)
            response.begin()
            assert response.status == 431
            assert json.loads(response.read())["error"]["code"] == "request_header_fields_too_large"
        assert refused(stage)["request_header_fields_too_large"] == before + 1


def test_a_head_within_its_limit_passes(stage: Stage) -> None:
    """60 KB of headers are the client's to send, also right behind a large body that came in the same reads."""
    server = stage.play(echo)
    wide = [f"x-wide-{number}: {'a' * 1000}" for number in range(60)]
    with connect(stage) as wire:
        wire.sendall(post(b" " * 300_000 + b"{}") + post(BODY, *wide))
        assert [response.status for response, _ in answers(wire, 2)] == [200, 200]
    assert server.seen[1].header("x-wide-59") == "a" * 1000


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that a test can wait for."""
    monkeypatch.setattr(connection, "HEAD_S", 0.3)
    monkeypatch.setattr(connection, "KEEP_ALIVE_S", 0.6)


@pytest.mark.usefixtures("hurried")
def test_a_slow_head_is_refused(stage: Stage) -> None:
    """A head that does not come whole in its time gets 408, however steadily its bytes come."""
    with connect(stage) as wire:
        wire.settimeout(0.05)
        received = b""
        for byte in post(BODY, f"x-a: {'a' * 10_000}"):
            try:
                wire.sendall(bytes([byte]))
                received = wire.recv(65536)
                break
            except TimeoutError:
                continue
            except OSError:
                break
        wire.settimeout(30)
        received += closed_by_peer(wire)
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b"request_timeout" in received


@pytest.mark.usefixtures("hurried")
def test_an_idle_connection_is_closed(stage: Stage) -> None:
    """One that never asks, or asks no more, is closed without a word; none stays for ever."""
    stage.play(echo)
    with connect(stage) as wire:
        assert closed_by_peer(wire) == b""
    with connect(stage) as wire:
        wire.sendall(post(BODY))
        assert [response.status for response, _ in answers(wire, 1)] == [200]
        assert closed_by_peer(wire) == b""


@pytest.mark.usefixtures("hurried")
def test_the_rest_of_a_refused_body_is_not_awaited_for_ever(stage: Stage) -> None:
    """After a refusal the client may end its body, but not hold the connection by sending it byte by byte."""
    with connect(stage) as wire:
        wire.sendall(post(BODY).replace(KEY.encode(), b"wrong")[:-1])
        assert [response.status for response, _ in answers(wire, 1)] == [401]
        wire.settimeout(30)
        assert closed_by_peer(wire) == b""


def test_a_pipelined_head_is_not_hurried_by_a_long_response(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a response takes its time the next request's bytes may lie unread: that is not their sender's delay."""

    monkeypatch.setattr(connection, "HEAD_S", 0.05)
    expired = threading.Semaphore(0)
    run_out = connection.GuardedConnection._run_out

    def ran_out(self: connection.GuardedConnection) -> None:
        run_out(self)
        expired.release()

    monkeypatch.setattr(connection.GuardedConnection, "_run_out", ran_out)

    async def slow(request: Seen, reply: Reply) -> None:
        for _ in range(0 if stage_upstream.seen else 2):
            assert await asyncio.to_thread(expired.acquire, timeout=30)
        await echo(request, reply)

    stage_upstream = stage.play(slow)
    with connect(stage) as wire:
        second = post(b"{}", target=FILES)
        wire.sendall(post(b"{}", target=FILES) + second[:20])
        assert [response.status for response, _ in answers(wire, 1)] == [200]
        wire.sendall(second[20:])
        assert [response.status for response, _ in answers(wire, 1)] == [200]


def test_a_kept_connection_outlives_those_of_the_fronts(stage: Stage) -> None:
    """By default an idle connection is kept longer than Envoy, load balancers and clients take it to be usable."""
    assert connection.KEEP_ALIVE_S >= 75


def test_http_1_0_gets_a_plain_body(stage: Stage) -> None:
    """A client that knows no chunks gets the body as it is, ended by the close, JSON and streams."""

    async def script(request: Seen, reply: Reply) -> None:
        if b'"stream": true' in request.body:
            await streaming(STREAM)(request, reply)
        else:
            await reply.json(b'{"a":1}')

    stage.play(script)
    for sent, expected in ((chat_body(), b'{"a":1}'), (chat_body(stream=True), b"".join(STREAM))):
        with connect(stage) as wire:
            wire.sendall(post(sent).replace(b"HTTP/1.1", b"HTTP/1.0", 1))
            head, _, body = closed_by_peer(wire).partition(b"\r\n\r\n")
        assert b"transfer-encoding" not in head.lower()
        assert body == expected


def test_a_bad_request_behind_a_good_one_does_not_spoil_its_response(stage: Stage) -> None:
    """What is no HTTP behind a request in flight ends the connection after that one's response, and not within it."""
    stage.play(echo)
    with connect(stage) as wire:
        wire.sendall(post(BODY) + b"\x00nonsense\r\n\r\n")
        received = closed_by_peer(wire)
    assert received.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 400" not in received
    assert json.loads(received.partition(b"\r\n\r\n")[2])[2].encode() == BODY
