"""Handshakes of WebSocket sessions where none are served."""

import json
import socket
from contextlib import closing
from typing import Any

import pytest

from tests.app.door.connections import connect, echo
from tests.app.relay.stage import Stage
from tests.app.relay.test_connections import answers
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


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [*((session, 426, "websocket_not_supported") for session in SESSIONS), (CHAT, 404, "not_found")],
)
def test_a_websocket_handshake_is_refused(stage: Stage, target: str, status: int, code: str) -> None:
    """Where sessions begin 426 sends clients to HTTP at once; elsewhere there is nothing. Nothing goes upstream."""
    server = stage.play(echo)
    with connect(stage) as wire:
        wire.sendall(handshake(target))
        ((response, body),) = answers(wire, 1)
    assert (response.status, json.loads(body)["error"]["code"]) == (status, code)
    assert response.getheader("x-trace-id")
    assert server.seen == []


def test_no_key_of_a_handshake_is_logged(process: Any, upstream: Any) -> None:
    """A key in the query of a handshake is in no line of the log."""
    running = process(upstream(echo).url)
    for name in ("api-key", "code", "subscription-key"):
        with closing(socket.create_connection(("127.0.0.1", running.port), 30)) as wire:
            wire.sendall(handshake(f"/openai/realtime?deployment=d&{name}=SECRET-KEY"))
            ((response, _),) = answers(wire, 1)
            assert response.status == 426
    running.close()
    assert "SECRET-KEY" not in "".join(running.output)
