"""Upstreams that misbehave: the client gets what is possible, and the record says what happened."""

import asyncio
import http.client
import json
import os
from typing import Any

import pytest

from tests.app.relay.stage import Stage, by_way, outcome
from tests.kit.hub import HubReader
from tests.kit.upstream import Reply, Script, Seen
from tests.kit.wire import (
    CHAT,
    DONE,
    STOP,
    STREAM,
    STREAM_WITH_USAGE,
    TEXT,
    USAGE,
    chat_body,
    chat_json,
    client,
)

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


def traced() -> tuple[str, str]:
    """A new trace id and its `traceparent`."""
    trace_id = os.urandom(16).hex()
    return trace_id, f"00-{trace_id}-00000000000000aa-01"


def test_incomplete_json_is_an_error(stage: Stage, hub: HubReader) -> None:
    """Half an object as a complete body passes and is an upstream error; a body that breaks off is upstream_cut."""
    half = chat_json()[:150]
    ways = {
        "complete": OK + b"content-length: 150\r\n\r\n" + half,
        "shorter than its length": OK + b"content-length: 5000\r\n\r\n" + half,
        "no last chunk": OK + b"transfer-encoding: chunked\r\n\r\n96\r\n" + half + b"\r\n",
    }
    stage.play(by_way(**ways))
    traces = {}
    with client(stage.url) as caller:
        for way in ways:
            answer = caller.send("POST", CHAT, chat_body(), x_way=way)
            traces[way] = answer.trace_id
            if way == "complete":
                assert answer.read() == half
            else:
                with pytest.raises(http.client.IncompleteRead) as broken:
                    answer.read()
                assert broken.value.partial == half
                caller.close()
    records = {way: hub.record(trace) for way, trace in traces.items()}
    assert {way: (record["status"], record["error"]["code"]) for way, record in records.items()} == {
        "complete": ("upstream_error", "invalid_json"),
        "shorter than its length": ("upstream_cut", "connection_broken"),
        "no last chunk": ("upstream_cut", "connection_broken"),
    }


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


def test_an_invalid_response_is_a_502(stage: Stage, hub: HubReader) -> None:
    """Anything but valid HTTP from upstream is an OpenAI-shaped 502 with a record; the client's connection survives."""
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


def test_headers_with_control_characters_are_dropped(stage: Stage, hub: HubReader) -> None:
    """A control character in a header value costs the client that header, not the response."""
    head = OK + b"x-a: b\x01c\r\nx-b: \x7f\r\nx-c: fine\tand well\r\ncontent-length: %d\r\n\r\n" % len(chat_json())
    stage.play(by_way(odd=head + chat_json()))
    with client(stage.url) as caller:
        answer = caller.send("POST", CHAT, chat_body(), x_way="odd")
        assert (answer.status, answer.read()) == (200, chat_json())
    assert (answer.header("x-a"), answer.header("x-b"), answer.header("x-c")) == (None, None, "fine\tand well")
    assert outcome(hub.record(answer.trace_id)) == ("completed", TEXT, USAGE)


def in_chunks(*pieces: bytes, content_type: str = "text/event-stream") -> Script:
    """A body of these chunks, each written separately."""

    async def script(request: Seen, reply: Reply) -> None:
        await reply.stream_head(content_type)
        for piece in pieces:
            await reply.chunk(piece)
            await asyncio.sleep(0)
        await reply.end()

    return script


def test_a_stream_in_chunks_of_one_byte_passes_unchanged(stage: Stage, hub: HubReader) -> None:
    """The client and the record get all of the stream, whether the client or the proxy requested usage."""
    events = [one.replace(b"\n", b"\r\n") for one in STREAM_WITH_USAGE]
    stream = b"".join(events)
    stage.play(in_chunks(*(bytes([byte]) for byte in stream)))
    with client(stage.url) as caller:
        with_usage = caller.send("POST", CHAT, chat_body(stream=True, stream_options={"include_usage": True}))
        assert with_usage.read() == stream
        without_usage = caller.chat(stream=True)
        assert without_usage.read() == b"".join(STREAM).replace(b"\n", b"\r\n")
    for answer in (with_usage, without_usage):
        record = hub.record(answer.trace_id)
        assert outcome(record) == ("completed", TEXT, USAGE)
        assert record["chunks"] == len(STREAM_WITH_USAGE) - 1


def test_an_event_over_the_limit_passes(stage: Stage, hub: HubReader) -> None:
    """An event of 17 MB reaches the client; the record has what came before and is marked as truncated."""
    piece = b"x" * (1 << 20)
    stream = [*STREAM[:5], b'data: {"choices":[],"x":"', *[piece] * 17, b'"}\n\n', STOP, DONE]
    stage.play(in_chunks(*stream))
    with client(stage.url) as caller:
        answer = caller.chat(stream=True)
        assert answer.read() == b"".join(stream)
    record = hub.record(answer.trace_id)
    assert (record["status"], record["content"], record["truncated"]) == ("completed", "Why did the", True)
