"""A call through the proxy on real sockets: every byte, every header, in its own time."""

import asyncio
import concurrent.futures
import http.client
import json
import socket
from typing import Any

import pytest

from tests.kit.hub import HubReader, wait_until
from tests.kit.upstream import Reply, Seen
from tests.kit.wire import (
    AZURE_HEADERS,
    CHAT,
    DONE,
    PROMPT,
    STREAM,
    STREAM_WITH_USAGE,
    TEXT,
    USAGE,
    chat_body,
    chat_json,
    client,
    delta,
)


def streaming(events: list[bytes]) -> Any:
    async def script(request: Seen, reply: Reply) -> None:
        await reply.stream_head(**AZURE_HEADERS)
        for one in events:
            await reply.chunk(one)
        await reply.end()

    return script


async def answering(request: Seen, reply: Reply) -> None:
    await reply.json(chat_json(), headers=AZURE_HEADERS)


def test_a_json_answer_arrives_as_it_was_sent_and_leaves_a_record(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """Status, headers and bytes of a JSON answer are upstream's; the record says what was asked and answered."""
    server = upstream(answering)
    with client(proxy(server.url).url) as caller:
        answer = caller.chat()
        assert answer.read() == chat_json()
    assert answer.status == 200
    received = [(name.lower(), value) for name, value in answer.headers]
    for name, value in AZURE_HEADERS.items():
        assert received.count((name.lower(), value)) == 1
    assert {name for name, _ in received} == {
        *(name.lower() for name in AZURE_HEADERS),
        "content-type",
        "content-length",
        "x-trace-id",
    }
    record = hub.record(answer.trace_id)
    assert record["type"] == "completion"
    assert record["content"] == TEXT
    assert record["prompt"] == PROMPT
    assert record["usage"] == USAGE
    assert record["model"] == "gpt-4.1-mini-2025-04-14"
    assert record["deployment"] == "chat-deployment"
    assert record["region"] == "East US 2"
    assert record["status"] == "completed"
    assert record["usage_source"] == "reported"
    assert record["finish_reasons"] == ["stop"]
    assert record["api_version"] == "2024-10-21"
    assert record["spilled_over"] is False
    assert "time_to_first_chunk_ms" not in record
    assert "streaming_duration_ms" not in record


def test_a_stream_arrives_byte_for_byte_and_leaves_a_record(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """An event stream is not touched; its record joins the deltas and has the stream's times."""
    server = upstream(streaming(STREAM_WITH_USAGE))
    with client(proxy(server.url).url) as caller:
        answer = caller.send("POST", CHAT, chat_body(stream=True, stream_options={"include_usage": True}))
        assert answer.read() == b"".join(STREAM_WITH_USAGE)
    record = hub.record(answer.trace_id)
    assert record["type"] == "stream_completion"
    assert record["content"] == TEXT
    assert record["usage"] == USAGE
    assert record["chunks"] == len(STREAM_WITH_USAGE) - 1
    assert record["time_to_first_chunk_ms"] <= record["time_to_first_token_ms"] <= record["latency_ms"]
    assert record["content_filter"]["prompt"] == {"hate": {"filtered": False, "severity": "safe"}}


def test_usage_that_was_not_reported_is_not_invented(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """A stream without usage has it estimated from its text, and says so."""
    server = upstream(streaming(STREAM))
    with client(proxy(server.url, PROXY_STREAM_USAGE="off").url) as caller:
        answer = caller.chat(stream=True)
        assert answer.read() == b"".join(STREAM)
    record = hub.record(answer.trace_id)
    assert record["usage_source"] == "estimated"
    assert record["usage"]["completion_tokens"] > 0


def test_each_event_arrives_before_the_next_is_sent(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """Nothing is held back: upstream sends an event only once the client has read the one before."""
    received = asyncio.Semaphore(0)

    async def script(request: Seen, reply: Reply) -> None:
        await reply.stream_head()
        for one in STREAM:
            await reply.chunk(one)
            await received.acquire()
        await reply.end()

    server = upstream(script)
    with client(proxy(server.url).url) as caller:
        answer = caller.chat(stream=True)
        for one in STREAM:
            assert answer.some() == one
            server.loop.call_soon_threadsafe(received.release)
        assert answer.some() == b""
    assert hub.record(answer.trace_id)["content"] == TEXT


def test_what_the_client_sends_reaches_upstream_untouched(upstream: Any, proxy: Any) -> None:
    """Path, query, unknown parameters, odd JSON and headers pass; credentials and hop-by-hop headers do not."""
    server = upstream(answering)
    body = b'{ "messages" : [] ,"unknown":{"a":[1.0,1e400]}, "x":"\\ud83d\\ude00" }'
    sent = {
        "x_custom": "Kept",
        "accept": "application/json",
        "user_agent": "someone/1.0",
        "authorization": "Bearer client-secret",
        "cookie": "session=1",
        "ocp_apim_subscription_key": "apim-secret",
        "x_functions_key": "function-secret",
        "x_ms_client_principal": "someone",
        "x_waws_unencoded_url": "/openai?code=function-secret",
        "x_apim_user_id": "user-7",
        "connection": "keep-alive, x-hop",
        "x_hop": "gone",
        "te": "trailers",
        "x_ms_invocation_id": "1",
        "x_proxy_content": "none",
    }
    with client(proxy(server.url).url) as caller:
        target = CHAT + "&code=function-secret&subscription-key=apim-secret&%63ode=function-secret&x=%20y"
        caller.send("POST", target, body, **sent).read()
    (seen,) = server.seen
    assert seen.target == CHAT + "&x=%20y"
    assert seen.body == body
    names = {name.lower() for name, _ in seen.headers}
    assert names == {
        "host",
        "content-type",
        "content-length",
        "accept-encoding",
        "accept",
        "user-agent",
        "x-custom",
        "api-key",
        "traceparent",
    }
    assert seen.header("api-key") == "upstream-key-0"
    assert seen.header("user-agent") == "someone/1.0"
    everything = f"{seen.target} {seen.headers}"
    assert "secret" not in everything
    assert "user-7" not in everything


@pytest.mark.parametrize("chunked", [False, True])
def test_another_path_and_a_large_upload_pass_through(upstream: Any, proxy: Any, hub: HubReader, chunked: bool) -> None:
    """A path of no known operation passes with its body, which is never whole in memory, and leaves a plain record."""
    server = upstream(lambda request, reply: reply.json(b'{"id":"file-1"}'))
    piece = b"x" * 65536

    with client(proxy(server.url).url) as caller:
        length = {} if chunked else {"content_length": str(len(piece) * 48)}
        answer = caller.send("POST", "/openai/files?api-version=1", (piece for _ in range(48)), **length)
        assert answer.read() == b'{"id":"file-1"}'
    assert server.seen[0].body == piece * 48
    assert (server.seen[0].header("content-length") is None) == chunked
    record = hub.record(answer.trace_id)
    assert record["operation"] == "call"
    assert record["prompt"] is None
    assert record["model"] == "unknown"


def test_a_get_without_a_body_passes_through(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """GET sends no body upstream, and the connection serves the next call."""
    server = upstream(lambda request, reply: reply.json(b'{"data":[]}'))
    with client(proxy(server.url, AZURE_OPENAI_API_VERSION="2024-06-01").url) as caller:
        assert caller.send("GET", "/openai/models").read() == b'{"data":[]}'
        assert caller.send("GET", "/openai/v1/models?a=b").read() == b'{"data":[]}'
        assert caller.send("DELETE", "/openai/files/1?api-version=x").read() == b'{"data":[]}'
    assert [seen.target for seen in server.seen] == [
        "/openai/models?api-version=2024-06-01",
        "/openai/v1/models?a=b",
        "/openai/files/1?api-version=x",
    ]
    assert all(seen.body == b"" for seen in server.seen)
    assert all(seen.header("content-length") is None for seen in server.seen[:2])


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

    async def script(request: Seen, reply: Reply) -> None:
        await reply.stream_head()
        for one in STREAM[:5]:
            await reply.chunk(one)
        await asyncio.sleep(0.1)  # let it arrive: a reset discards what is still on its way
        reply.reset()

    server = upstream(script)
    with client(proxy(server.url).url) as caller:
        answer = caller.chat(stream=True)
        with pytest.raises(http.client.IncompleteRead) as broken:
            answer.read()
        assert broken.value.partial == b"".join(STREAM[:5])
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


def test_an_unreachable_upstream_is_a_502(proxy: Any, hub: HubReader) -> None:
    """No connection: an OpenAI-shaped 502 that names no address, with a record."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with client(proxy(f"http://127.0.0.1:{port}").url) as caller:
        answer = caller.chat()
        error = json.loads(answer.read())["error"]
    assert answer.status == 502
    assert error["code"] == "upstream_unreachable"
    assert set(error) == {"message", "type", "code", "param"}
    assert str(port) not in error["message"]
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
    with client(proxy(server.url, PROXY_MAX_SECONDS="0.3").url) as caller:
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
    with client(proxy(server.url, PROXY_MAX_SECONDS="0.5").url) as caller:
        answer = caller.chat(stream=True)
        with pytest.raises(http.client.IncompleteRead):
            answer.read()
    record = hub.record(answer.trace_id)
    assert (record["status"], record["error"]["code"]) == ("upstream_cut", "time_limit")
    wait_until(closed.is_set)


@pytest.mark.parametrize("events_before", [0, 4])
def test_a_client_that_leaves_cancels_upstream(upstream: Any, proxy: Any, hub: HubReader, events_before: int) -> None:
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
    trace_id = f"{0xA0 + events_before:032x}"
    with client(proxy(server.url).url) as caller:
        headers = {"api-key": "client-key-0", "traceparent": f"00-{trace_id}-00000000000000aa-01"}
        caller.connection.request("POST", CHAT, chat_body(stream=True), headers)
        wait_until(asked.is_set)
        if events_before:
            answer = caller.connection.getresponse()
            received = b""
            while received != b"".join(STREAM[:events_before]):
                received += answer.read1(65536)
            answer.close()
    wait_until(closed.is_set)
    record = hub.record(trace_id)
    assert record["status"] == "client_aborted"
    assert record["content"] == ("Why did" if events_before else "")
    assert record.get("http_status") == (200 if events_before else None)
    if not events_before:
        assert record["time_to_first_chunk_ms"] == record["latency_ms"]


def test_a_client_that_stops_reading_and_leaves_ends_the_call_once(upstream: Any, proxy: Any, hub: HubReader) -> None:
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
    trace_id = f"{0xB0:032x}"
    running = proxy(server.url)
    with client(running.url) as caller:
        headers = {"api-key": "client-key-0", "traceparent": f"00-{trace_id}-00000000000000aa-01"}
        caller.connection.request("POST", CHAT, chat_body(stream=True), headers)
        wait_until(blocked.is_set, 60)
    wait_until(closed.is_set)
    assert hub.record(trace_id)["status"] == "client_aborted"
    calls = [span for span in running.spans.of_trace(trace_id, 2) if span.kind.name == "CLIENT"]
    assert len(calls) == 1


def test_draining_reads_upstream_to_its_end(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """PROXY_ON_CLIENT_ABORT=drain: the client's leaving does not stop upstream, and the whole answer is recorded."""
    left = asyncio.Event()

    async def script(request: Seen, reply: Reply) -> None:
        await reply.stream_head()
        for one in STREAM_WITH_USAGE[:3]:
            await reply.chunk(one)
        await left.wait()
        for one in STREAM_WITH_USAGE[3:]:
            await reply.chunk(one)
        await reply.end()

    server = upstream(script)
    running = proxy(server.url, PROXY_ON_CLIENT_ABORT="drain")
    with client(running.url) as caller:
        answer = caller.chat(stream=True)
        trace_id = answer.trace_id
        answer.some()
        caller.leave()
    server.loop.call_soon_threadsafe(left.set)
    record = hub.record(trace_id)
    assert record["status"] == "client_aborted"
    assert record["content"] == TEXT
    assert record["usage"] == USAGE


def test_two_hundred_streams_at_once(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """200 streams that are all open at the same time arrive whole, each with a record of its own."""
    count = 200
    all_open = asyncio.Barrier(count)

    async def script(request: Seen, reply: Reply) -> None:
        await reply.stream_head()
        await reply.chunk(STREAM[0])
        await all_open.wait()
        for one in STREAM[1:]:
            await reply.chunk(one)
        await reply.end()

    server = upstream(script)
    url = proxy(server.url).url

    def call(_: int) -> tuple[str, bytes]:
        with client(url) as caller:
            answer = caller.chat(stream=True)
            return answer.trace_id, answer.read()

    with concurrent.futures.ThreadPoolExecutor(count) as threads:
        answers = list(threads.map(call, range(count)))
    assert [body for _, body in answers] == [b"".join(STREAM)] * count
    records = [hub.record(trace_id) for trace_id, _ in answers]
    assert len({record["id"] for record in records}) == count
    assert {record["status"] for record in records} == {"completed"}
    assert DONE in answers[0][1]
