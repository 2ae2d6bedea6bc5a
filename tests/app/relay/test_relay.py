"""A call through the proxy on real sockets: all bytes and headers, without delay."""

import asyncio
import concurrent.futures
from typing import Any

import pytest

from tests.kit.hub import HubReader
from tests.kit.scripts import answering, streaming
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
)


def test_a_json_response_passes_unchanged_and_is_recorded(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """Status, headers and bytes of a JSON response are upstream's; the record has request and response."""
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


def test_a_stream_passes_unchanged_and_is_recorded(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """An event stream passes byte for byte; its record joins the deltas and has the stream's times."""
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


@pytest.mark.parametrize(
    ("headers", "region", "spilled_over"),
    [
        ({"x-ms-region": "Sweden Central", "x-ms-is-spilled-over": "true"}, "Sweden Central", True),
        ({"X-MS-Region": "France Central", "X-MS-Is-Spilled-Over": "False"}, "France Central", False),
        ({}, "unknown", None),
    ],
)
def test_region_and_spill_over_are_recorded(
    upstream: Any, proxy: Any, hub: HubReader, headers: dict[str, str], region: str, spilled_over: bool | None
) -> None:
    """The record has the region and the spill-over of upstream's headers."""
    with client(proxy(upstream(lambda request, reply: reply.json(chat_json(), headers=headers)).url).url) as caller:
        answer = caller.chat()
        answer.read()
    record = hub.record(answer.trace_id)
    assert (record["region"], record.get("spilled_over"), record["attempts"]) == (region, spilled_over, 1)


@pytest.mark.parametrize(
    ("options", "events"),
    [({}, STREAM), ({"stream_options": {"include_usage": True}}, STREAM_WITH_USAGE)],
    ids=["proxy requests usage", "client requests usage"],
)
def test_each_event_arrives_before_the_next_is_sent(
    upstream: Any, proxy: Any, options: dict[str, Any], events: list[bytes]
) -> None:
    """Nothing is held back: upstream sends the next event only after the client has read the previous one."""
    received = asyncio.Semaphore(0)
    added = STREAM_WITH_USAGE[-2] if len(events) < len(STREAM_WITH_USAGE) else None

    async def script(request: Seen, reply: Reply) -> None:
        await reply.stream_head()
        for one in STREAM_WITH_USAGE:
            await reply.chunk(one)
            if one != added:
                await received.acquire()
        await reply.end()

    server = upstream(script)
    with client(proxy(server.url).url) as caller:
        answer = caller.send("POST", CHAT, chat_body(stream=True, **options))
        for one in events:
            assert answer.some() == one
            server.loop.call_soon_threadsafe(received.release)
        assert answer.some() == b""


def test_a_request_reaches_upstream_unchanged(upstream: Any, proxy: Any) -> None:
    """Path, query, unknown parameters, unusual JSON and headers pass; credentials and hop-by-hop headers do not."""
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
def test_a_large_upload_to_an_unknown_path_passes(upstream: Any, proxy: Any, hub: HubReader, chunked: bool) -> None:
    """The body passes, with or without a length, and the record is a plain one with the body's size."""
    server = upstream(lambda request, reply: reply.json(b'{"id":"file-1"}'))
    piece = b"x" * 65536

    with client(proxy(server.url).url) as caller:
        length = {} if chunked else {"content_length": str(len(piece) * 48)}
        answer = caller.send("POST", "/openai/files?api-version=1", (piece for _ in range(48)), **length)
        assert answer.read() == b'{"id":"file-1"}'
    assert server.seen[0].body == piece * 48
    assert (server.seen[0].header("content-length") is None) == chunked
    record = hub.record(answer.trace_id)
    assert (record["operation"], record["prompt"], record["model"]) == ("call", None, "unknown")
    assert record["request_bytes"] == len(piece) * 48


def test_requests_without_a_body_pass(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """GET and DELETE send no body upstream, and the connection serves the next call."""
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


def test_two_hundred_concurrent_streams_are_complete(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """200 streams that are open at the same time arrive complete, each with a record of its own."""
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
