"""The ways a call can end: an upstream error, a broken connection, a timeout, or a client that disconnects."""

import asyncio
import concurrent.futures
import http.client
import json
from typing import Any

import pytest

from tests.kit.azure import Trace
from tests.kit.hub import HubReader, wait_until
from tests.kit.proxy import KEY
from tests.kit.scripts import streaming
from tests.kit.upstream import Reply, Seen
from tests.kit.wire import (
    CHAT,
    DONE,
    PROMPT,
    STREAM,
    STREAM_WITH_USAGE,
    TEXT,
    USAGE,
    Answer,
    Client,
    chat_body,
    chat_json,
    client,
    delta,
)

ERROR = b'data: {"error":{"code":"500","message":"Sorry."}}\n\n'


def test_an_upstream_error_passes_and_is_recorded(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """The client gets upstream's error unchanged, and the record names it."""
    body = b'{"error":{"code":"429","message":"Rate limit is exceeded."}}'
    server = upstream(lambda request, reply: reply.json(body, 429, {"retry-after": "7", "retry-after-ms": "6800"}))
    with client(proxy(server.url).url) as caller:
        answer = caller.chat(stream=True)
        assert (answer.status, answer.read()) == (429, body)
        assert answer.header("retry-after-ms") == "6800"
    record = hub.record(answer.trace_id)
    assert record["status"] == "upstream_error"
    assert record["http_status"] == 429
    assert record["error"] == {"code": "429", "message": "Rate limit is exceeded."}
    assert record["type"] == "stream_completion"
    assert record["model"] == "chat-deployment"


def test_a_broken_stream_is_broken_for_the_client(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """A reset in mid-stream breaks the client's stream, with nothing added; the record has what arrived."""
    arrived = asyncio.Event()

    async def script(request: Seen, reply: Reply) -> None:
        await reply.stream_head()
        for one in STREAM[:5]:
            await reply.chunk(one)
        await arrived.wait()  # a reset discards what is still in flight
        reply.reset()

    server = upstream(script)
    with client(proxy(server.url).url) as caller:
        answer = caller.chat(stream=True)
        answer.take(b"".join(STREAM[:5]))
        server.loop.call_soon_threadsafe(arrived.set)
        with pytest.raises(http.client.IncompleteRead) as broken:
            answer.read()
        assert broken.value.partial == b""
    record = hub.record(answer.trace_id)
    assert record["status"] == "upstream_cut"
    assert record["content"] == "Why did the"
    assert (record["usage_source"], record["usage"]["completion_tokens"]) == ("estimated", 3)


def test_a_stream_without_done_is_recorded_as_cut(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """A stream that ends without [DONE] passes unchanged and is recorded as upstream_cut."""
    server = upstream(streaming(STREAM[:-1]))
    with client(proxy(server.url).url) as caller:
        answer = caller.chat(stream=True)
        assert answer.read() == b"".join(STREAM[:-1])
    assert hub.record(answer.trace_id)["status"] == "upstream_cut"


def test_an_unreachable_upstream_is_a_502(proxy: Any, hub: HubReader, dead_port: int) -> None:
    """Without a connection, the client gets an OpenAI-shaped 502 that names no address, and there is a record."""
    with client(proxy(f"http://127.0.0.1:{dead_port}").url) as caller:
        answer = caller.chat()
        error = json.loads(answer.read())["error"]
    assert answer.status == 502
    assert error["code"] == "upstream_unreachable"
    assert set(error) == {"message", "type", "code", "param"}
    assert str(dead_port) not in error["message"]
    record = hub.record(answer.trace_id)
    assert (record["status"], record.get("http_status")) == ("upstream_error", None)
    assert record["prompt"] == PROMPT


def test_calls_past_the_time_limit_are_ended(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """After PROXY_MAX_SECONDS, a call without a response is a 504 and a response is cut off; upstream is closed."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
    stream_head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    starts = {
        "nothing": b"",
        "half a head": head[:40],
        "half a body": head + b"content-length: 5000\r\n\r\n" + chat_json()[:150],
        "a stream": stream_head + b"%x\r\n%s\r\n" % (len(STREAM[0]), STREAM[0]),
    }
    closed = asyncio.Semaphore(0)

    async def script(request: Seen, reply: Reply) -> None:
        await reply.raw(starts[str(request.header("x-way"))])
        await reply.hung_up()
        closed.release()

    server = upstream(script)
    url = proxy(server.url, PROXY_MAX_SECONDS="3").url

    def call(way: str) -> tuple[str, object]:
        with client(url) as caller:
            answer = caller.chat(stream=way == "a stream", x_way=way)
            try:
                return answer.trace_id, (answer.status, json.loads(answer.read())["error"]["code"])
            except http.client.IncompleteRead:
                return answer.trace_id, "broken off"

    with concurrent.futures.ThreadPoolExecutor(len(starts)) as threads:
        ended = dict(zip(starts, threads.map(call, starts), strict=True))
    records = {way: hub.record(trace_id) for way, (trace_id, _) in ended.items()}
    for way in ("nothing", "half a head"):
        assert ended[way][1] == (504, "upstream_timeout")
        assert (records[way]["status"], records[way].get("http_status")) == ("upstream_error", None)
    for way in ("half a body", "a stream"):
        assert ended[way][1] == "broken off"
        assert (records[way]["status"], records[way]["http_status"]) == ("upstream_cut", 200)
        assert records[way]["error"]["code"] == "time_limit"
    for _ in starts:
        asyncio.run_coroutine_threadsafe(closed.acquire(), server.loop).result(60)


def begin(caller: Client, trace: Trace) -> None:
    """Request a stream without waiting for the response."""
    headers = {"api-key": KEY, **trace.headers}
    caller.connection.request("POST", CHAT, chat_body(stream=True), headers)


@pytest.mark.parametrize("events_before", [0, 4])
def test_a_client_disconnect_cancels_upstream(upstream: Any, proxy: Any, trace: Trace, events_before: int) -> None:
    """Upstream is closed when the client disconnects, even before the first byte; what arrived is recorded."""
    closed, requested = asyncio.Event(), asyncio.Event()

    async def script(request: Seen, reply: Reply) -> None:
        requested.set()
        if events_before:
            await reply.stream_head()
            for one in STREAM[:events_before]:
                await reply.chunk(one)
        await reply.hung_up()
        closed.set()

    server = upstream(script)
    with client(proxy(server.url).url) as caller:
        begin(caller, trace)
        wait_until(requested.is_set)
        if events_before:
            answer = caller.connection.getresponse()
            Answer(answer).take(b"".join(STREAM[:events_before]))
            answer.close()
    wait_until(closed.is_set)
    record = trace.record()
    assert record["status"] == "client_aborted"
    assert record["content"] == ("Why did" if events_before else "")
    assert record.get("http_status") == (200 if events_before else None)
    assert record["usage_source"] == ("estimated" if events_before else "missing")
    if not events_before:
        assert record["time_to_first_chunk_ms"] == record["latency_ms"]


@pytest.mark.parametrize("drain", [False, True])
@pytest.mark.parametrize(
    ("path", "events"),
    [
        (CHAT, [*STREAM[:4], ERROR]),
        (CHAT, [*STREAM[:4], ERROR, DONE]),
        ("/openai/v1/responses", [b'event: error\ndata: {"type":"error","code":"500","message":"Sorry."}\n\n']),
    ],
)
def test_a_disconnect_after_an_error_event_is_an_upstream_error(
    upstream: Any, proxy: Any, trace: Trace, path: str, events: list[bytes], drain: bool
) -> None:
    """OpenAI's clients disconnect at an error event: the call is recorded as failed, not as aborted."""
    disconnected = asyncio.Event()

    async def script(request: Seen, reply: Reply) -> None:
        await reply.stream_head()
        for one in events:
            await reply.chunk(one)
        await disconnected.wait()
        if drain:
            await reply.end()
        else:
            await reply.hung_up()

    server = upstream(script)
    body = json.dumps({"model": "m", "input": "?", "messages": PROMPT, "stream": True})
    with client(proxy(server.url, PROXY_ON_CLIENT_ABORT="drain" if drain else "cancel").url) as caller:
        caller.send("POST", path, body, **trace.headers).take(b"".join(events))
    server.loop.call_soon_threadsafe(disconnected.set)
    record = trace.record()
    assert (record["status"], record["error"]) == ("upstream_error", {"code": "500", "message": "Sorry."})


def test_a_client_disconnect_after_an_upload_cancels_upstream(upstream: Any, proxy: Any, trace: Trace) -> None:
    """Once a streamed request body is complete, the proxy watches for the disconnect and closes upstream."""
    closed, requested = asyncio.Event(), asyncio.Event()

    async def script(request: Seen, reply: Reply) -> None:
        requested.set()
        await reply.hung_up()
        closed.set()

    with client(proxy(upstream(script).url).url) as caller:
        headers = {"api-key": KEY, **trace.headers}
        caller.connection.request("POST", "/openai/files?api-version=2024-10-21", b"x" * 1000, headers)
        wait_until(requested.is_set)
    wait_until(closed.is_set)
    assert trace.record()["status"] == "client_aborted"


def test_a_disconnect_during_a_blocked_send_ends_the_call_once(upstream: Any, proxy: Any, trace: Trace) -> None:
    """A call whose send is blocked by a client that does not read ends once, when that client disconnects."""
    closed = asyncio.Event()
    blocked = asyncio.Event()

    async def script(request: Seen, reply: Reply) -> None:
        await reply.stream_head()
        try:
            while True:
                async with asyncio.timeout(1.0):
                    await reply.chunk(delta({"content": "x"}, obfuscation="x" * 60_000))
        except TimeoutError:
            blocked.set()
        await reply.hung_up()
        closed.set()

    server = upstream(script)
    running = proxy(server.url)
    with client(running.url) as caller:
        begin(caller, trace)
        wait_until(blocked.is_set)
    wait_until(closed.is_set)
    assert trace.record()["status"] == "client_aborted"
    calls = [span for span in running.spans.of_trace(trace.id, 2) if span.kind.name == "CLIENT"]
    assert len(calls) == 1


@pytest.mark.parametrize("events_before", [0, 3])
def test_draining_reads_upstream_to_its_end(upstream: Any, proxy: Any, trace: Trace, events_before: int) -> None:
    """With PROXY_ON_CLIENT_ABORT=drain, upstream continues after a client disconnect, even before the first byte, and
    the complete answer is recorded."""
    requested, disconnected = asyncio.Event(), asyncio.Event()

    async def script(request: Seen, reply: Reply) -> None:
        requested.set()
        if not events_before:
            await disconnected.wait()
        await reply.stream_head()
        for one in STREAM_WITH_USAGE[:events_before]:
            await reply.chunk(one)
        await disconnected.wait()
        for one in STREAM_WITH_USAGE[events_before:]:
            await reply.chunk(one)
        await reply.end()

    server = upstream(script)
    running = proxy(server.url, PROXY_ON_CLIENT_ABORT="drain")
    with client(running.url) as caller:
        begin(caller, trace)
        wait_until(requested.is_set)
        if events_before:
            caller.connection.getresponse().read1(1)
        caller.leave()
    with client(running.url) as another:  # once this has its response, the call knows of the disconnect
        assert another.send("GET", "/health/live").read()
    server.loop.call_soon_threadsafe(disconnected.set)
    record = trace.record()
    assert record["status"] == "client_aborted"
    assert record["content"] == TEXT
    assert record["usage"] == USAGE
