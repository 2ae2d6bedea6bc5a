"""A proxy, the upstream behind it, and clients that send what no HTTP client would."""

import http.client
import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.app.relay.stage import Stage
from tests.kit.hub import Broker
from tests.kit.proxy import KEY, ProxyThread
from tests.kit.upstream import Reply, ScriptedUpstream, Seen
from tests.kit.wire import CHAT, Answer, client

CHAT_PATH = CHAT.partition("?")[0]


@dataclass
class Got:
    """A response, read completely."""

    answer: Answer
    body: bytes

    @property
    def status(self) -> int:
        return self.answer.status


@dataclass
class Door:
    """A proxy, its upstream, and ways to send requests."""

    running: ProxyThread
    upstream: ScriptedUpstream

    def ask(self, method: str, target: str, body: Any = None, **headers: str) -> Got:
        with client(self.running.url) as caller:
            answer = caller.send(method, target, body, **headers)
            return Got(answer, answer.read())

    def raw(self, data: bytes, method: str = "GET") -> Got:
        """Send raw bytes and read one response."""
        with socket.create_connection(("127.0.0.1", self.running.port), 30) as connection:
            connection.sendall(data)
            response = http.client.HTTPResponse(connection, method=method)
            response.begin()
            return Got(Answer(response), response.read())

    def target(self, target: bytes) -> Got:
        """GET a raw target."""
        return self.raw(b"GET " + target + b" HTTP/1.1\r\nhost: proxy\r\napi-key: " + KEY.encode() + b"\r\n\r\n")

    def post(self, *fields: bytes, body: bytes = b"{}", path: str = CHAT_PATH) -> Got:
        """POST with these raw header lines."""
        head = [b"POST " + path.encode() + b" HTTP/1.1", b"host: proxy", b"api-key: " + KEY.encode(), *fields]
        return self.raw(b"\r\n".join(head) + b"\r\n\r\n" + body)

    def counted(self) -> dict[str, int]:
        refused: dict[str, int] = json.loads(self.ask("GET", "/health/ready").body)["refused"]
        return refused

    def check(self, got: Got, status: int, code: str, times: int = 1) -> None:
        """Check a refusal, the `times`-th with its code: shape, trace, span, counter, and nothing sent upstream."""
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
    """A proxy with a small limit on bodies."""

    async def answering(request: Seen, reply: Reply) -> None:
        if request.method == "HEAD":
            await reply.head(200, {"content-length": "2"})
        else:
            await reply.json(b"{}")

    server = upstream(answering)
    return Door(proxy(server.url, PROXY_MAX_REQUEST_BYTES="300000"), server)


@pytest.fixture(scope="module")
def stage(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A proxy for all tests of a module, and the upstream behind it."""
    with Stage(ProxyThread, broker, tmp_path_factory.mktemp("connection")) as started:
        yield started
