"""Upstreams that do what they should not: the client gets what can be had, and the record says what happened."""

import asyncio
import http.client
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.app.relay.stage import Stage, by_way
from tests.kit.hub import Broker, HubReader, Record
from tests.kit.proxy import ProxyThread
from tests.kit.upstream import Reply, Script, Seen
from tests.kit.wire import (
    CHAT,
    CHUNK,
    DONE,
    FILTER_FIRST,
    STOP,
    STREAM,
    STREAM_WITH_USAGE,
    TEXT,
    USAGE,
    chat_body,
    chat_json,
    client,
    event,
)

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


@pytest.fixture(scope="module")
def stage(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(ProxyThread, broker, tmp_path_factory.mktemp("hostile")) as started:
        yield started


def traced() -> tuple[str, str]:
    """A new trace id, and the `traceparent` that carries it."""
    trace_id = os.urandom(16).hex()
    return trace_id, f"00-{trace_id}-00000000000000aa-01"


def said(record: Record) -> tuple[Any, ...]:
    return record["status"], record["content"], record["usage"]


def test_json_that_ends_in_its_middle(stage: Stage, hub: HubReader) -> None:
    """Half an object that claims to be whole passes, and is an error; a body shorter than it should be was cut."""
    half = chat_json()[:150]
    ways = {
        "claims to be whole": OK + b"content-length: 150\r\n\r\n" + half,
        "shorter than its length": OK + b"content-length: 5000\r\n\r\n" + half,
        "no last chunk": OK + b"transfer-encoding: chunked\r\n\r\n96\r\n" + half + b"\r\n",
    }
    stage.play(by_way(**ways))
    traces = {}
    with client(stage.url) as caller:
        for way in ways:
            answer = caller.send("POST", CHAT, chat_body(), x_way=way)
            traces[way] = answer.trace_id
            if way == "claims to be whole":
                assert answer.read() == half
            else:
                with pytest.raises(http.client.IncompleteRead) as broken:
                    answer.read()
                assert broken.value.partial == half
                caller.close()
    records = {way: hub.record(trace) for way, trace in traces.items()}
    assert {way: (record["status"], record["error"]["code"]) for way, record in records.items()} == {
        "claims to be whole": ("upstream_error", "invalid_json"),
        "shorter than its length": ("upstream_cut", "connection_broken"),
        "no last chunk": ("upstream_cut", "connection_broken"),
    }


def test_an_upstream_that_stalls(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """Half a head is no answer: 504 in time. Half a body is cut in time. Upstream's connection is closed for both."""
    closed = asyncio.Semaphore(0)

    def stalling(start: bytes) -> Script:
        async def script(request: Seen, reply: Reply) -> None:
            await reply.raw(start)
            await reply.hung_up()
            closed.release()

        return script

    ways = {"head": stalling(OK[:40]), "body": stalling(OK + b"content-length: 5000\r\n\r\n" + chat_json()[:150])}
    server = upstream(by_way(**ways))
    with client(proxy(server.url, PROXY_MAX_SECONDS="3").url) as caller:
        head = caller.send("POST", CHAT, chat_body(), x_way="head")
        assert (head.status, json.loads(head.read())["error"]["code"]) == (504, "upstream_timeout")
        body = caller.send("POST", CHAT, chat_body(), x_way="body")
        with pytest.raises(http.client.IncompleteRead):
            body.read()
    record = hub.record(head.trace_id)
    assert (record["status"], record.get("http_status")) == ("upstream_error", None)
    record = hub.record(body.trace_id)
    assert (record["status"], record["http_status"], record["error"]["code"]) == ("upstream_cut", 200, "time_limit")
    for _ in ways:
        asyncio.run_coroutine_threadsafe(closed.acquire(), server.loop).result(60)


GARBAGE = {
    "nothing": b"",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "bytes": bytes(range(256)) * 40,
    "a body without a head": chat_json(),
    "http/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + b"\x00" * 18,
    "http/0.9": b"<html>hello</html>",
    "a word for a status": b"HTTP/1.1 OK\r\n\r\n",
    "a status of no kind": b"HTTP/1.1 999 What\r\ncontent-length: 0\r\n\r\n",
    "status 0": b"HTTP/1.1 000 What\r\ncontent-length: 0\r\n\r\n",
    "another upgrade": b"HTTP/1.1 101 Other\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n\x81\x05hello",
    "half a head": OK[:30],
    "a line that is no header": b"HTTP/1.1 200 OK\r\nwhat is this\r\ncontent-length: 2\r\n\r\n{}",
    "NUL in a value": b"HTTP/1.1 200 OK\r\nx-a: b\x00c\r\ncontent-length: 2\r\n\r\n{}",
    "an odd name": b"HTTP/1.1 200 OK\r\nx@a(b): c\r\ncontent-length: 2\r\n\r\n{}",
    "no name": b"HTTP/1.1 200 OK\r\n: c\r\ncontent-length: 2\r\n\r\n{}",
    "a negative length": OK + b"content-length: -1\r\n\r\n",
    "two lengths": OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "a word for a length": OK + b"content-length: many\r\n\r\n{}",
    "length and chunks": OK + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a header of a megabyte": OK + b"x-a: " + b"a" * (1 << 20) + b"\r\ncontent-length: 2\r\n\r\n{}",
    "ten thousand headers": OK + b"x-a: b\r\n" * 10_000 + b"content-length: 2\r\n\r\n{}",
    "a head without end": OK + b"x-a: b\r\n" * 100_000,
}


def test_what_is_no_answer_is_a_502(stage: Stage, hub: HubReader) -> None:
    """Whatever upstream sends in place of HTTP: an OpenAI-shaped 502 with a record; the client's connection is fine."""
    stage.play(by_way(**GARBAGE, good=lambda request, reply: reply.json(chat_json())))
    got: dict[str, Any] = {}
    traces: dict[str, str] = {}
    with client(stage.url) as caller:
        for way in GARBAGE:
            traces[way], traceparent = traced()
            try:
                answer = caller.send("POST", CHAT, chat_body(), x_way=way, traceparent=traceparent)
                got[way] = (answer.status, json.loads(answer.read()).get("error", {}).get("code"))
            except (http.client.HTTPException, ValueError) as fault:
                got[way] = fault
                caller.close()
            good = caller.send("POST", CHAT, chat_body(), x_way="good")
            assert good.read() == chat_json(), way
    assert got == dict.fromkeys(GARBAGE, (502, "upstream_unreachable"))
    records = {way: hub.record(trace) for way, trace in traces.items()}
    assert {(record["status"], record.get("http_status")) for record in records.values()} == {("upstream_error", None)}


def test_a_header_that_no_server_can_pass_on_is_left_out(stage: Stage, hub: HubReader) -> None:
    """A control byte in one value does not cost the client its answer."""
    head = OK + b"x-a: b\x01c\r\nx-b: \x7f\r\nx-c: fine\tand well\r\ncontent-length: %d\r\n\r\n" % len(chat_json())
    stage.play(by_way(odd=head + chat_json()))
    with client(stage.url) as caller:
        answer = caller.send("POST", CHAT, chat_body(), x_way="odd")
        assert (answer.status, answer.read()) == (200, chat_json())
    assert (answer.header("x-a"), answer.header("x-b"), answer.header("x-c")) == (None, None, "fine\tand well")
    assert said(hub.record(answer.trace_id)) == ("completed", TEXT, USAGE)


def in_chunks(*pieces: bytes, content_type: str = "text/event-stream") -> Script:
    """A body of these chunks, each written by itself, with the loop's turn in between."""

    async def script(request: Seen, reply: Reply) -> None:
        await reply.stream_head(content_type)
        for piece in pieces:
            await reply.chunk(piece)
            await asyncio.sleep(0)
        await reply.end()

    return script


BARE = event({"choices": [{"index": 0, "finish_reason": None}], "id": "", "model": ""})
ODD_STREAMS = {
    "CRLF": b"".join(STREAM_WITH_USAGE).replace(b"\n", b"\r\n"),
    "CR": b"".join(STREAM_WITH_USAGE).replace(b"\n", b"\r"),
    "BOM": b"\xef\xbb\xbf" + b"".join(STREAM_WITH_USAGE),
    "comments": b": hello\n\n" + b":\n:\n\n".join(STREAM_WITH_USAGE),
    "other fields": b"event: x\nid: 1\nretry: 5\n" + b"event: message\nid\n".join(STREAM_WITH_USAGE),
    "no spaces": b"".join(STREAM_WITH_USAGE).replace(b"data: ", b"data:"),
    "data in lines": b"".join(STREAM_WITH_USAGE).replace(b',"delta"', b',\ndata: "delta"'),
    "no empty line at the end": b"".join(STREAM_WITH_USAGE)[:-2],
    "more empty lines": b"\n\n\n".join(STREAM_WITH_USAGE),
    "events that say nothing": b"".join(
        [
            FILTER_FIRST,
            event({"choices": []}),
            event({}),
            event("null"),
            event('"text"'),
            event("{not json"),
            event(""),
            BARE,
            event({"choices": None, "id": None, "model": 7, "usage": None}),
            *STREAM_WITH_USAGE,
        ]
    ),
}


def test_event_streams_of_every_make(stage: Stage, hub: HubReader) -> None:
    """Line ends, comments, a BOM, other fields, events without choices, delta or id: every byte passes, and the record
    is that of the plain stream."""
    stage.play(by_way(**{way: in_chunks(stream) for way, stream in ODD_STREAMS.items()}))
    traces = {}
    with client(stage.url) as caller:
        body = chat_body(stream=True, stream_options={"include_usage": True})
        for way, stream in ODD_STREAMS.items():
            answer = caller.send("POST", CHAT, body, x_way=way)
            assert answer.read() == stream, way
            traces[way] = answer.trace_id
    records = {way: hub.record(trace) for way, trace in traces.items()}
    assert {way: said(record) for way, record in records.items()} == dict.fromkeys(
        ODD_STREAMS, ("completed", TEXT, USAGE)
    )
    assert {record["model"] for record in records.values()} == {CHUNK["model"]}
    assert {record["response_id"] for record in records.values()} == {CHUNK["id"]}


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_stream_in_chunks_of_one_byte(stage: Stage, hub: HubReader, end: bytes) -> None:
    """The client's bytes are those of the stream, with usage asked for by itself or on its behalf; so is the record."""
    events = [one.replace(b"\n", end) for one in STREAM_WITH_USAGE]
    stream = b"".join(events)
    stage.play(in_chunks(*(bytes([byte]) for byte in stream)))
    with client(stage.url) as caller:
        asked = caller.send("POST", CHAT, chat_body(stream=True, stream_options={"include_usage": True}))
        assert asked.read() == stream
        taken_out = caller.chat(stream=True)
        assert taken_out.read() == b"".join(events[:-2] + events[-1:])
    for answer in (asked, taken_out):
        record = hub.record(answer.trace_id)
        assert said(record) == ("completed", TEXT, USAGE)
        assert record["chunks"] == len(STREAM_WITH_USAGE) - 1


def test_a_stream_that_stops_for_a_moment_at_any_byte(stage: Stage, hub: HubReader) -> None:
    """Cut in two wherever it may matter in the last events, the first part being there before the second is sent, a
    stream reaches the client in all its bytes but for the event that was added."""
    events = [one.replace(b"\n", b"\r\n") for one in STREAM_WITH_USAGE]
    stream, expected = b"".join(events), b"".join(events[:-2] + events[-1:])
    arrived = asyncio.Semaphore(0)

    async def script(request: Seen, reply: Reply) -> None:
        at = int(str(request.header("x-cut")))
        await reply.stream_head()
        await reply.chunk(stream[:at])
        await arrived.acquire()
        await reply.chunk(stream[at:])
        await reply.end()

    server = stage.play(script)
    different = []
    with client(stage.url) as caller:
        for at in range(len(b"".join(events[:-3])) - 20, len(stream)):
            if at % 5 and b"\r" not in stream[at - 4 : at + 4] and b"finish" not in stream[at - 30 : at + 9]:
                continue
            answer = caller.chat(stream=True, x_cut=str(at))
            received = (
                answer.some()
            )  # what comes first passes at once: with it there, the rest of the part is there too
            server.loop.call_soon_threadsafe(arrived.release)
            if received + answer.read() != expected:
                different.append(at)
    assert different == []


def test_an_event_over_the_limit_passes(stage: Stage, hub: HubReader) -> None:
    """17 MB without an event's end are no reason to stop: the client gets all, the record what came before."""
    piece = b"x" * (1 << 20)
    stream = [*STREAM[:5], b'data: {"choices":[],"x":"', *[piece] * 17, b'"}\n\n', STOP, DONE]
    stage.play(in_chunks(*stream))
    with client(stage.url) as caller:
        answer = caller.chat(stream=True)
        assert answer.read() == b"".join(stream)
    record = hub.record(answer.trace_id)
    assert (record["status"], record["content"], record["truncated"]) == ("completed", "Why did the", True)
