"""The ways a call can end: refused by upstream, broken off, silent, too long, or left by its client."""

import asyncio
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
    Client,
    chat_body,
    client,
    delta,
)

ERROR = b'data: {"error":{"code":"500","message":"Sorry."}}\n\n'


def test_an_upstream_error_passes_and_is_recorded(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """An error of upstream's is the client's to see, and the record names it."""
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


def test_a_stream_that_breaks_off_breaks_off_for_the_client(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """A reset in mid-stream shows as a broken answer, nothing added; the record holds what came."""

    arrived = asyncio.Event()

    async def script(request: Seen, reply: Reply) -> None:
        await reply.stream_head()
        for one in STREAM[:5]:
            await reply.chunk(one)
        await arrived.wait()  # a reset discards what is still on its way
        reply.reset()

    server = upstream(script)
    with client(proxy(server.url).url) as caller:
        answer, received = caller.chat(stream=True), b""
        while received != b"".join(STREAM[:5]):
            received += answer.some()
        server.loop.call_soon_threadsafe(arrived.set)
        with pytest.raises(http.client.IncompleteRead) as broken:
            answer.read()
        assert broken.value.partial == b""
    record = hub.record(answer.trace_id)
    assert record["status"] == "upstream_cut"
    assert record["content"] == "Why did the"
    assert record["usage_source"] == "estimated"


def test_a_stream_without_its_last_event_was_cut(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """A stream that ends without [DONE] passes unchanged, and is recorded as cut."""
    server = upstream(streaming(STREAM[:-1]))
    with client(proxy(server.url).url) as caller:
        answer = caller.chat(stream=True)
        assert answer.read() == b"".join(STREAM[:-1])
    assert hub.record(answer.trace_id)["status"] == "upstream_cut"


def test_an_unreachable_upstream_is_a_502(proxy: Any, hub: HubReader, dead_port: int) -> None:
    """No connection: an OpenAI-shaped 502 that names no address, with a record."""
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


def test_a_silent_upstream_is_a_504(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """No answer within PROXY_MAX_SECONDS: a 504 with a record; upstream's connection is closed."""
    closed = asyncio.Event()

    async def script(request: Seen, reply: Reply) -> None:
        await reply.hung_up()
        closed.set()

    server = upstream(script)
    with client(proxy(server.url, PROXY_MAX_SECONDS="3").url) as caller:
        answer = caller.chat()
        assert (answer.status, json.loads(answer.read())["error"]["code"]) == (504, "upstream_timeout")
    assert hub.record(answer.trace_id)["status"] == "upstream_error"
    wait_until(closed.is_set)


def test_a_stream_past_its_time_is_cut(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """A stream that runs past PROXY_MAX_SECONDS is cut, for client and upstream alike."""
    closed = asyncio.Event()

    async def script(request: Seen, reply: Reply) -> None:
        await reply.stream_head()
        await reply.chunk(STREAM[0])
        await reply.hung_up()
        closed.set()

    server = upstream(script)
    with client(proxy(server.url, PROXY_MAX_SECONDS="3").url) as caller:
        answer = caller.chat(stream=True)
        with pytest.raises(http.client.IncompleteRead):
            answer.read()
    record = hub.record(answer.trace_id)
    assert (record["status"], record["error"]["code"]) == ("upstream_cut", "time_limit")
    wait_until(closed.is_set)


def begin(caller: Client, trace: Trace) -> None:
    """Ask for a stream, and wait for nothing of it."""
    headers = {"api-key": KEY, **trace.headers}
    caller.connection.request("POST", CHAT, chat_body(stream=True), headers)


@pytest.mark.parametrize("events_before", [0, 4])
def test_a_client_that_leaves_cancels_upstream(upstream: Any, proxy: Any, trace: Trace, events_before: int) -> None:
    """Upstream is closed at once when the client leaves, also while the first byte is awaited; what came is kept."""
    closed, asked = asyncio.Event(), asyncio.Event()

    async def script(request: Seen, reply: Reply) -> None:
        asked.set()
        if events_before:
            await reply.stream_head()
            for one in STREAM[:events_before]:
                await reply.chunk(one)
        await reply.hung_up()
        closed.set()

    server = upstream(script)
    with client(proxy(server.url).url) as caller:
        begin(caller, trace)
        wait_until(asked.is_set)
        if events_before:
            answer = caller.connection.getresponse()
            received = b""
            while received != b"".join(STREAM[:events_before]):
                received += answer.read1(65536)
            answer.close()
    wait_until(closed.is_set)
    record = trace.record()
    assert record["status"] == "client_aborted"
    assert record["content"] == ("Why did" if events_before else "")
    assert record.get("http_status") == (200 if events_before else None)
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
def test_a_client_that_leaves_because_of_an_error(
    upstream: Any, proxy: Any, trace: Trace, path: str, events: list[bytes], drain: bool
) -> None:
    """OpenAI's clients hang up at an error within the stream: the call failed for that, not because they left."""
    left = asyncio.Event()

    async def script(request: Seen, reply: Reply) -> None:
        await reply.stream_head()
        for one in events:
            await reply.chunk(one)
        await left.wait()
        if drain:
            await reply.end()
        else:
            await reply.hung_up()

    server = upstream(script)
    body = json.dumps({"model": "m", "input": "?", "messages": PROMPT, "stream": True})
    with client(proxy(server.url, PROXY_ON_CLIENT_ABORT="drain" if drain else "cancel").url) as caller:
        answer, received = caller.send("POST", path, body, **trace.headers), b""
        while received != b"".join(events):
            received += answer.some()
    server.loop.call_soon_threadsafe(left.set)
    record = trace.record()
    assert (record["status"], record["error"]) == ("upstream_error", {"code": "500", "message": "Sorry."})


def test_a_client_that_leaves_after_its_upload(upstream: Any, proxy: Any, trace: Trace) -> None:
    """Also of a body that goes up piece by piece: once it is all there, the client is watched, and upstream closed."""
    closed, asked = asyncio.Event(), asyncio.Event()

    async def script(request: Seen, reply: Reply) -> None:
        asked.set()
        await reply.hung_up()
        closed.set()

    with client(proxy(upstream(script).url).url) as caller:
        headers = {"api-key": KEY, **trace.headers}
        caller.connection.request("POST", "/openai/files?api-version=2024-10-21", b"x" * 1000, headers)
        wait_until(asked.is_set)
    wait_until(closed.is_set)
    assert trace.record()["status"] == "client_aborted"


def test_a_client_that_stops_reading_and_leaves_ends_the_call_once(upstream: Any, proxy: Any, trace: Trace) -> None:
    """A call whose send is blocked by a client that reads nothing ends once, when that client is gone."""
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
    """PROXY_ON_CLIENT_ABORT=drain: the client's leaving, also while the first byte is awaited, does not stop upstream,
    and the whole answer is recorded."""
    asked, left = asyncio.Event(), asyncio.Event()

    async def script(request: Seen, reply: Reply) -> None:
        asked.set()
        if not events_before:
            await left.wait()
        await reply.stream_head()
        for one in STREAM_WITH_USAGE[:events_before]:
            await reply.chunk(one)
        await left.wait()
        for one in STREAM_WITH_USAGE[events_before:]:
            await reply.chunk(one)
        await reply.end()

    server = upstream(script)
    running = proxy(server.url, PROXY_ON_CLIENT_ABORT="drain")
    with client(running.url) as caller:
        begin(caller, trace)
        wait_until(asked.is_set)
        if events_before:
            caller.connection.getresponse().read1(1)
        caller.leave()
    with client(running.url) as another:  # by the time this is answered, the first one's leaving is known to the call
        assert another.send("GET", "/health/live").read()
    server.loop.call_soon_threadsafe(left.set)
    record = trace.record()
    assert record["status"] == "client_aborted"
    assert record["content"] == TEXT
    assert record["usage"] == USAGE
