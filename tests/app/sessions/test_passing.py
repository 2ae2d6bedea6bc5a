"""What passes in a session: frames as they come, both ways; and how sessions end."""

import asyncio
import json
import socket
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from tests.app.sessions.service import Service, session
from tests.kit.hub import HubReader, wait_until

MIB = 1024 * 1024


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


def closed(client: Any) -> tuple[int, str]:
    """The code and reason with which the session is closed."""
    with pytest.raises(ConnectionClosed) as ended:
        client.recv(60)
    assert ended.value.rcvd is not None
    return ended.value.rcvd.code, ended.value.rcvd.reason


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 16 * MIB])
def test_messages_of_any_size_pass(service: Service, proxy: Any, size: int) -> None:
    """Text and binary, both ways."""
    service.script = echo
    with session(proxy(service.url).url) as client:
        for message in ("é" * (size // 2) + "x" * (size % 2), b"\xff" * size):
            client.send(message)
            assert client.recv(60) == message


def test_fragments_and_pings_pass(service: Service, proxy: Any) -> None:
    """A message in pieces, and a ping between them, which the service answers."""
    service.script = echo
    with session(proxy(service.url).url) as client:
        client.send(iter(["a", "b" * 70_000, "c"]))
        assert client.recv(60) == "a" + "b" * 70_000 + "c"
        assert client.ping(b"x").wait(60)


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1008, "policy"), (4000, "own")])
def test_the_services_close_code_passes(service: Service, proxy: Any, code: int, reason: str) -> None:
    """With its reason."""

    async def script(connection: ServerConnection) -> None:
        await connection.close(code, reason)

    service.script = script
    with session(proxy(service.url).url) as client:
        assert closed(client) == (code, reason)


def test_the_clients_close_code_passes(service: Service, proxy: Any) -> None:
    """The service learns it."""
    service.script = echo
    with session(proxy(service.url).url) as client:
        client.close(4001, "done")
    wait_until(lambda: service.closed == [4001])


def test_a_broken_connection_of_the_service_closes_with_1011(service: Service, proxy: Any) -> None:
    """The client learns that the service is gone."""

    async def script(connection: ServerConnection) -> None:
        connection.transport.abort()

    service.script = script
    with session(proxy(service.url).url) as client:
        assert closed(client)[0] == 1011


def test_a_message_past_the_limit_closes_with_1009(service: Service, proxy: Any) -> None:
    """None of it reaches the service; the service's own may be as large."""

    async def script(connection: ServerConnection) -> None:
        await connection.send("x" * 5000)
        await echo(connection)

    service.script = script
    with session(proxy(service.url, PROXY_MAX_REQUEST_BYTES="4096").url) as client:
        assert len(client.recv(60)) == 5000
        client.send("y" * 4096)
        assert len(client.recv(60)) == 4096
        client.send("z" * 4097)
        assert closed(client)[0] == 1009


def test_a_session_past_its_time_closes_with_1001(service: Service, proxy: Any) -> None:
    """PROXY_MAX_SESSION_SECONDS."""
    service.script = echo
    with session(proxy(service.url, PROXY_MAX_SESSION_SECONDS="0.3").url) as client:
        assert closed(client)[0] == 1001


def test_a_client_that_does_not_read_pauses_the_service(service: Service, proxy: Any) -> None:
    """The service can send only as much as buffers on the way hold."""
    sent = 0
    ended = asyncio.Event()

    async def script(connection: ServerConnection) -> None:
        nonlocal sent
        try:
            while sent < 512:
                await connection.send(b"x" * MIB)
                sent += 1
        except ConnectionClosed:
            ended.set()

    service.script = script
    raw = socket.create_connection(("127.0.0.1", int(proxy(service.url).url.rpartition(":")[2])))
    with raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        raw.sendall(
            b"GET /openai/v1/realtime?model=m HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
            b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\napi-key: client-key-0\r\n\r\n"
        )
        assert raw.recv(12) == b"HTTP/1.1 101"
        seen = -1

        def stands_still() -> bool:
            nonlocal seen
            before, seen = seen, sent
            return sent > 0 and before == sent

        wait_until(stands_still)
        assert sent < 100
    wait_until(ended.is_set)


def test_the_server_span_ends_with_the_session(service: Service, proxy: Any) -> None:
    """With its close code and counts."""
    service.script = echo
    running = proxy(service.url)
    with session(running.url) as client:
        assert client.response is not None
        trace_id = client.response.headers["x-trace-id"]
        client.send(json.dumps({"type": "response.create"}))
        client.recv(60)
        client.close(1000)
    server = next(span for span in running.spans.of_trace(trace_id, 2) if span.kind.name == "SERVER")
    attributes = dict(server.attributes or {})
    assert attributes["http.status_code"] == 101
    assert attributes["proxy.session.close_code"] == 1000
    assert attributes["proxy.session.responses"] == 1


def test_one_session_after_another(service: Service, proxy: Any, hub: HubReader) -> None:
    """Each has an id of its own."""
    service.script = echo
    running = proxy(service.url)
    found = set()
    for _ in range(3):
        with session(running.url) as client:
            assert client.response is not None
            client.send(json.dumps({"type": "response.create"}))
            client.recv(60)
        (record,) = hub.records(client.response.headers["x-trace-id"], 1)
        assert record["status"] == "client_aborted"
        found.add(record["connection_id"])
    assert len(found) == 3
