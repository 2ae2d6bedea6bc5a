"""A proxy and the bytes that its clients send, one connection at a time."""

import json
import socket
from contextlib import closing

from tests.app.relay.stage import Stage
from tests.kit.upstream import Reply, Seen
from tests.kit.wire import chat_body, client

FILES = "/openai/files?api-version=2024-10-21"
BODY = chat_body()


async def echo(request: Seen, reply: Reply) -> None:
    """Answers with what it was asked."""
    await reply.json(json.dumps([request.method, request.target, request.body.decode()]).encode())


def connect(stage: Stage) -> closing[socket.socket]:
    return closing(socket.create_connection(("127.0.0.1", stage.proxy.port), 30))


def refused(stage: Stage) -> dict[str, int]:
    """How many requests the proxy has refused, by code."""
    with client(stage.url) as caller:
        counted: dict[str, int] = json.loads(caller.send("GET", "/health/ready").read())["refused"]
        return counted


def closed_by_peer(wire: socket.socket) -> bytes:
    """What came before the other side closed."""
    received = b""
    while more := wire.recv(65536):
        received += more
    return received
