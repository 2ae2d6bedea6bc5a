"""Connections on both sides: kept alive, pooled, closed at the wrong moment, and used in unusual ways."""

import asyncio
import contextlib
import http.client
import io
import json
import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import app.upstream.connection
from tests.app.relay.stage import Stage
from tests.kit.hub import HubReader, wait_until
from tests.kit.linux import needs_proc
from tests.kit.proxy import KEY
from tests.kit.scripts import answering
from tests.kit.upstream import Reply, Seen
from tests.kit.wire import CHAT, ROLE, STREAM, chat_body, chat_json, client, delta

FILES = "/openai/files?api-version=2024-10-21"


def traced() -> tuple[str, str]:
    """A new trace id and its header line."""
    trace_id = os.urandom(16).hex()
    return trace_id, f"traceparent: 00-{trace_id}-00000000000000aa-01"


def post(body: bytes, *fields: str, target: str = CHAT) -> bytes:
    """The bytes of a request."""
    lines = [f"POST {target} HTTP/1.1", "host: proxy", f"api-key: {KEY}", f"content-length: {len(body)}", *fields]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Shared(io.BufferedReader):
    """A reader for several responses: bytes that one reads ahead belong to the next."""

    def close(self) -> None:
        """Only the connection closes it."""


def answers(connection: socket.socket, count: int) -> list[tuple[http.client.HTTPResponse, bytes]]:
    """The next `count` responses, even if they arrive in one piece."""
    stream = Shared(socket.SocketIO(connection, "r"))
    taken = []
    for _ in range(count):
        response = http.client.HTTPResponse(SimpleNamespace(makefile=lambda mode: stream))  # type: ignore[arg-type]
        response.begin()
        taken.append((response, response.read()))
    return taken


def test_a_pooled_connection_closed_by_upstream_is_not_reused(stage: Stage) -> None:
    """After upstream closes an idle connection, the next call opens another."""
    closed = asyncio.Event()

    async def script(request: Seen, reply: Reply) -> None:
        await reply.json(chat_json())
        reply.writer.write_eof()
        await reply.hung_up()
        closed.set()

    stage.play(script)
    with client(stage.url) as caller:
        for _ in range(3):
            answer = caller.chat()
            assert (answer.status, answer.read()) == (200, chat_json())
            wait_until(closed.is_set)
            closed.clear()


class Forgetful:
    """An upstream that closes a connection on its second request, without a response."""

    def __init__(self, reset: bool) -> None:
        self._reset = reset
        self._known: list[asyncio.StreamWriter] = []

    async def __call__(self, request: Seen, reply: Reply) -> None:
        if reply.writer not in self._known:
            self._known.append(reply.writer)
            await reply.json(chat_json())
        elif self._reset:
            reply.reset()
        else:
            reply.writer.close()


@pytest.mark.parametrize("reset", [False, True])
def test_a_call_on_a_stale_connection_is_resent(
    stage: Stage, hub: HubReader, monkeypatch: pytest.MonkeyPatch, reset: bool
) -> None:
    """If a pooled connection closes before the first byte of the response, the call is resent on another one. A
    streamed body cannot be resent; its client gets a 502."""
    monkeypatch.setattr(app.upstream.connection, "STALE_S", 60.0)  # a busy machine may take a while
    stage.play(Forgetful(reset))
    calls = {
        "json": ("POST", CHAT, chat_body()),
        "stream": ("POST", CHAT, chat_body(stream=True)),
        "get": ("GET", FILES, None),
        "upload": ("POST", FILES, b"{}"),
    }
    statuses = {}
    with client(stage.url) as caller:
        for name, call in calls.items():
            assert caller.chat().read() == chat_json(), f"before {name}"
            answer = caller.send(*call)
            answer.read()
            statuses[name] = answer.status
    assert statuses == {"json": 200, "stream": 200, "get": 200, "upload": 502}
    assert hub.record(answer.trace_id)["status"] == "upstream_error"


@pytest.mark.parametrize("said_before", [b"", b"HTTP/1.1 200 OK\r\ncontent-"])
def test_a_call_on_a_new_connection_is_not_resent(
    upstream: Any, proxy: Any, hub: HubReader, said_before: bytes
) -> None:
    """Upstream may have processed and charged the call: if a new connection closes, the client gets a 502, no retry."""

    async def script(request: Seen, reply: Reply) -> None:
        await reply.raw(said_before)
        reply.writer.close()

    server = upstream(script)
    with client(proxy(server.url).url) as caller:
        answer = caller.chat()
        assert (answer.status, json.loads(answer.read())["error"]["code"]) == (502, "upstream_unreachable")
    assert len(server.seen) == 1
    assert hub.record(answer.trace_id)["status"] == "upstream_error"


def test_a_request_one_byte_at_a_time_is_served(stage: Stage, hub: HubReader) -> None:
    """A request in pieces of one byte, head included, is served; upstream gets the body unchanged."""
    server = stage.play(answering)
    with socket.create_connection(("127.0.0.1", stage.proxy.port), 30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in post(chat_body(), "content-type: application/json"):
            connection.send(bytes([byte]))
        ((response, body),) = answers(connection, 1)
    assert body == chat_json()
    assert [seen.body for seen in server.seen] == [chat_body()]
    assert hub.record(str(response.getheader("x-trace-id")))["status"] == "completed"


def test_pipelined_requests_are_answered_in_order(stage: Stage, hub: HubReader) -> None:
    """Pipelined requests get their responses in order, each with its own trace, prompt and record."""

    async def script(request: Seen, reply: Reply) -> None:
        word = json.loads(request.body)["messages"][0]["content"]
        await reply.json(chat_json(content=f"{word}!"))

    words = [f"word {number}" for number in range(5)]
    bodies = [json.dumps({"messages": [{"role": "user", "content": word}]}).encode() for word in words]
    stage.play(script)
    with socket.create_connection(("127.0.0.1", stage.proxy.port), 30) as connection:
        connection.sendall(b"".join(map(post, bodies)))
        taken = answers(connection, len(words))
    assert [json.loads(body)["choices"][0]["message"]["content"] for _, body in taken] == [f"{word}!" for word in words]
    traces = [str(response.getheader("x-trace-id")) for response, _ in taken]
    assert len(set(traces)) == len(words)
    records = [hub.record(trace) for trace in traces]
    assert [record["prompt"][0]["content"] for record in records] == words
    assert [record["content"] for record in records] == [f"{word}!" for word in words]
    servers = [span for trace in traces for span in stage.proxy.spans.of_trace(trace, 2) if span.kind.name == "SERVER"]
    assert [span.parent for span in servers] == [None] * len(words)


def test_additional_span_processors_see_unsampled_spans(stage: Stage) -> None:
    """A span processor passed to `create_app` sees request and call of an unsampled trace."""
    stage.play(answering)
    trace_id = f"{0xDECAF:032x}"
    with client(stage.url) as caller:
        caller.send("POST", CHAT, chat_body(), traceparent=f"00-{trace_id}-b7ad6b7169203331-00").read()
    spans = stage.proxy.spans.of_trace(trace_id, 2)
    assert sorted(span.kind.name for span in spans) == ["CLIENT", "SERVER"]
    assert not any(span.context.trace_flags.sampled for span in spans)


def test_a_half_closed_connection_is_a_client_disconnect(stage: Stage, hub: HubReader) -> None:
    """A client that closes its sending side counts as disconnected: upstream is closed, and the call ends once."""
    closed, requested = asyncio.Event(), asyncio.Event()

    async def script(request: Seen, reply: Reply) -> None:
        requested.set()
        await reply.hung_up()
        closed.set()

    stage.play(script)
    trace_id, traceparent = traced()
    with socket.create_connection(("127.0.0.1", stage.proxy.port), 30) as connection:
        connection.sendall(post(chat_body(), traceparent))
        wait_until(requested.is_set)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    wait_until(closed.is_set)
    assert hub.record(trace_id)["status"] == "client_aborted"
    assert len(stage.proxy.spans.of_trace(trace_id, 2)) == 2


def test_an_incomplete_request_never_reaches_upstream(stage: Stage, hub: HubReader) -> None:
    """Half a head, or half the body of a known operation, does not reach upstream and leaves no record; half an upload
    breaks off there too. Other clients are served in the meantime."""
    server = stage.play(answering)
    (_, head), (body_id, body), (upload_id, upload) = traced(), traced(), traced()
    upload_in_full = post(b"x" * 1000, upload, target=FILES)
    halves = [post(chat_body(), head)[:200], post(chat_body(), body)[:-10], upload_in_full[:-500]]
    connections = [socket.create_connection(("127.0.0.1", stage.proxy.port), 30) for _ in halves]
    for connection, half in zip(connections, halves, strict=True):
        connection.sendall(half)
    with client(stage.url) as caller:
        assert caller.chat().read() == chat_json()
        for connection in connections:
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1) == b""
            connection.close()
        assert caller.chat().read() == chat_json()
    assert hub.record(upload_id)["status"] == "client_aborted"
    assert [seen.body for seen in server.seen] == [chat_body()] * 2
    assert [span.kind.name for span in stage.proxy.spans.of_trace(body_id, 1)] == ["SERVER"]
    assert body_id not in {record["trace_id"] for record in hub.all()}


def open_in(pid: int) -> tuple[int, int]:
    """How many sockets, and how many other files, a process has open."""
    needs_proc()
    targets = []
    for entry in (Path("/proc") / str(pid) / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            targets.append(os.readlink(entry))
    sockets = sum(target.startswith("socket:") for target in targets)
    return sockets, len(targets) - sockets


def open_calls(url: str) -> int:
    """How many calls are in flight in a proxy."""
    with client(url) as caller:
        found: int = json.loads(caller.send("GET", "/health/ready").read())["open_calls"]
    return found


def test_a_thousand_client_disconnects_leak_nothing(upstream: Any, process: Any, hub: HubReader) -> None:
    """After a thousand disconnects in mid-response, no upstream connection and no file is left open, each call has its
    record, and the next call succeeds."""
    open_now = 0
    trace_id, traceparent = traced()

    async def script(request: Seen, reply: Reply) -> None:
        nonlocal open_now
        if request.header("x-stay"):
            await reply.json(chat_json())
            return
        open_now += 1
        try:
            await reply.stream_head()
            await reply.chunk(STREAM[0])
            await reply.chunk(ROLE + delta({"content": "Why"}))
            await reply.hung_up()
        finally:
            open_now -= 1

    running = process(upstream(script).url)

    def leave(count: int) -> tuple[int, int]:
        """Start `count` calls and disconnect; return what the process has open once it is idle."""
        request = post(chat_body(stream=True), traceparent)
        for number in range(count):
            if number % 10 == 0:  # limits how many are open at the same time
                wait_until(lambda: open_calls(running.url) == 0)
            with socket.create_connection(("127.0.0.1", running.port), 30) as connection:
                connection.sendall(request)
                received = b""
                while b'"Why"' not in received:
                    more = connection.recv(65536)
                    assert more, received
                    received += more
        with client(running.url) as caller:
            answer = caller.chat(x_stay="1")
            assert answer.read() == chat_json()
        hub.record(answer.trace_id)
        wait_until(lambda: open_now == 0 and open_calls(running.url) == 0)
        return open_in(running.pid)

    sockets, files = leave(10)
    _, files_after = leave(990)
    wait_until(lambda: open_in(running.pid)[0] <= sockets + 1)  # upstream's pooled one may be among them
    assert files_after <= files + 16  # the journal keeps a file per concurrent call
    records = hub.records(trace_id, 1000)
    assert len({record["id"] for record in records}) == 1000
    assert {(record["status"], record["content"]) for record in records} == {("client_aborted", "Why")}
