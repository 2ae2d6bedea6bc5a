"""Handshakes of WebSocket sessions that are refused; tests/app/sessions has those that are not."""

import json
import socket
from contextlib import closing
from typing import Any

from tests.app.door.connections import connect, echo
from tests.app.relay.stage import Stage
from tests.app.relay.test_connections import answers
from tests.kit.hub import Broker
from tests.kit.wire import CHAT

SESSIONS = [
    "/openai/realtime?api-version=1&deployment=d",
    "/openai/v1/realtime?model=m",
    "/openai/v1/responses",
    "/openai/V1/Realtime/",
]
HANDSHAKE = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAA"]


def handshake(target: str) -> bytes:
    return "\r\n".join([f"GET {target} HTTP/1.1", "host: proxy", *HANDSHAKE, "", ""]).encode()


def test_a_handshake_where_no_session_begins(stage: Stage) -> None:
    """There is nothing, and nothing goes upstream."""
    server = stage.play(echo)
    with connect(stage) as wire:
        wire.sendall(handshake(CHAT))
        ((response, body),) = answers(wire, 1)
    assert (response.status, json.loads(body)["error"]["code"]) == (404, "not_found")
    assert response.getheader("x-trace-id")
    assert server.seen == []


def test_sessions_are_refused_where_the_server_has_none(process: Any, upstream: Any, broker: Broker) -> None:
    """426 at once, which sends clients to HTTP; nothing goes upstream, and no key in a query is logged."""
    server = upstream(echo)
    running = process(server.url, broker.conn_str, "--http", "h11", "--ws", "none")
    for target in SESSIONS:
        with closing(socket.create_connection(("127.0.0.1", running.port), 30)) as wire:
            wire.sendall(handshake(f"{target}{'&' if '?' in target else '?'}api-key=SECRET-KEY"))
            ((response, body),) = answers(wire, 1)
        assert (response.status, json.loads(body)["error"]["code"]) == (426, "websocket_not_supported")
        assert response.getheader("x-trace-id")
    running.close()
    assert server.seen == []
    assert "SECRET-KEY" not in "".join(running.output)


def test_no_key_of_a_handshake_is_logged(process: Any, upstream: Any) -> None:
    """A key in the query of a handshake is in no line of the log."""
    running = process(upstream(echo).url)
    for name in ("api-key", "code", "subscription-key"):
        with closing(socket.create_connection(("127.0.0.1", running.port), 30)) as wire:
            wire.sendall(handshake(f"/openai/realtime?deployment=d&{name}=SECRET-KEY"))
            ((response, _),) = answers(wire, 1)
            assert response.status == 401
    running.close()
    assert "SECRET-KEY" not in "".join(running.output)
