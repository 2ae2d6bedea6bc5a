"""Framings and encodings of a response: in all of them the client gets upstream's bytes and the record its facts."""

import functools
import gzip
import zlib
from collections.abc import Callable

import brotli
from backports import zstd

from tests.app.relay.stage import Stage, by_way, outcome
from tests.kit.hub import HubReader
from tests.kit.upstream import Reply, Script, Seen
from tests.kit.wire import (
    AZURE_HEADERS,
    CHAT,
    STREAM,
    STREAM_WITH_USAGE,
    TEXT,
    USAGE,
    Answer,
    Client,
    chat_body,
    chat_json,
    client,
)

FILES = "/openai/files?api-version=2024-10-21"
EVENTS = b"".join(STREAM_WITH_USAGE)
UNREADABLE = bytes(range(256)) * 20


def sized(body: bytes, status: int = 200, **headers: str) -> Script:
    """A response with a length."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request, reply: reply.json(body, status, named)


def chunked(body: bytes, size: int, content_type: str = "text/event-stream", **headers: str) -> Script:
    """A response in chunks of `size` bytes."""

    async def way(request: Seen, reply: Reply) -> None:
        await reply.stream_head(content_type, **headers)
        for at in range(0, len(body), size):
            await reply.chunk(body[at : at + size])
        await reply.end()

    return way


def written(*pieces: bytes, close: bool = False) -> Script:
    """The bytes of a response, head included; `close` closes the connection after it."""

    async def way(request: Seen, reply: Reply) -> None:
        for piece in pieces:
            await reply.raw(piece)
        if close:
            reply.writer.close()

    return way


def ask(caller: Client, way: str, stream: bool = False, **headers: str) -> tuple[Answer, bytes]:
    """Make a chat call that is answered in this way; a stream requests its own usage."""
    options = {"stream_options": {"include_usage": True}} if stream else {}
    answer = caller.send("POST", CHAT, chat_body(stream, **options), x_way=way, **headers)
    return answer, answer.read()


def test_a_compressed_response_passes_unchanged_and_is_read(stage: Stage, hub: HubReader) -> None:
    """In every encoding, for JSON and events, bytes and headers are upstream's and the record is complete."""
    encoders: dict[str, Callable[[bytes], bytes]] = {
        "gzip": functools.partial(gzip.compress, mtime=0),
        "deflate": zlib.compress,
        "br": brotli.compress,
        "zstd": zstd.compress,
    }
    scripts = {
        **{f"json-{name}": sized(compress(chat_json()), content_encoding=name) for name, compress in encoders.items()},
        **{f"sse-{name}": chunked(compress(EVENTS), 7, content_encoding=name) for name, compress in encoders.items()},
    }
    server = stage.play(by_way(**scripts))
    with client(stage.url) as caller:
        got = {
            way: ask(caller, way, way.startswith("sse"), accept_encoding="gzip, deflate, br, zstd") for way in scripts
        }
    assert {seen.header("accept-encoding") for seen in server.seen} == {"gzip, deflate, br, zstd"}
    for way, (answer, body) in got.items():
        kind, _, name = way.partition("-")
        assert answer.header("content-encoding") == name
        assert body == encoders[name](EVENTS if kind == "sse" else chat_json())
        assert outcome(hub.record(answer.trace_id)) == ("completed", TEXT, USAGE), way


def test_an_unsupported_encoding_passes_unchanged(stage: Stage, hub: HubReader) -> None:
    """JSON and events arrive byte for byte; the record is truncated, and nothing in it is invented."""
    scripts = {
        "json": sized(UNREADABLE, content_encoding="compress"),
        "sse": chunked(UNREADABLE, 100, content_encoding="compress"),
        "two": sized(UNREADABLE, content_encoding="gzip, br"),
        "error": sized(UNREADABLE, 400, content_encoding="compress"),
    }
    stage.play(by_way(**scripts))
    with client(stage.url) as caller:
        got = {way: ask(caller, way, way == "sse") for way in scripts}
    for way, (answer, body) in got.items():
        assert body == UNREADABLE, way
        assert answer.header("content-encoding") == ("gzip, br" if way == "two" else "compress")
        record = hub.record(answer.trace_id)
        assert outcome(record) == ("upstream_error" if way == "error" else "completed", "", None), way
        assert (record["truncated"], record["usage_source"]) == (True, "missing")
        assert record["response_bytes"] == len(UNREADABLE)


def test_an_invalid_encoding_passes_unchanged(stage: Stage, hub: HubReader) -> None:
    """The client gets bytes that are not gzip, or incomplete gzip, unchanged."""
    whole = gzip.compress(EVENTS)
    scripts = {
        "none": chunked(EVENTS, 1000, content_encoding="gzip"),
        "cut": chunked(whole[:-40], 50, content_encoding="gzip"),
        "more": chunked(whole + b"and more bytes", 50, content_encoding="gzip"),
    }
    stage.play(by_way(**scripts))
    with client(stage.url) as caller:
        got = {way: ask(caller, way, stream=True) for way in scripts}
    assert got["none"][1] == EVENTS
    assert got["cut"][1] == whole[:-40]
    assert got["more"][1] == whole + b"and more bytes"
    assert hub.record(got["none"][0].trace_id)["truncated"] is True
    assert hub.record(got["cut"][0].trace_id)["status"] == "upstream_cut"
    assert outcome(hub.record(got["more"][0].trace_id)) == ("completed", TEXT, USAGE)


def test_every_framing_of_a_response_passes(stage: Stage, hub: HubReader) -> None:
    """With a length, chunks with extensions and trailers, or a closed connection, body and record are the same. Headers
    about upstream's connection do not reach the client's, which stays open."""
    body = chat_json()
    half, rest = body[:200], body[200:]
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
    in_chunks = b"%x;a=b\r\n%s\r\n%X\r\n%s\r\n0\r\n" % (len(half), half, len(rest), rest)
    scripts = {
        "length": sized(body),
        "chunks": chunked(body, 100, "application/json"),
        "extensions": written(head + b"transfer-encoding: chunked\r\n\r\n", in_chunks, b"\r\n"),
        "trailers": written(
            head + b"transfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n", in_chunks, b"x-sum: 1\r\nx-end: 2\r\n\r\n"
        ),
        "closed": written(head + b"connection: close\r\n\r\n", half, rest, close=True),
        "length-closed": written(
            head + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body), half, rest, close=True
        ),
        "http-1.0": written(head.replace(b"1.1", b"1.0") + b"\r\n", half, rest, close=True),
    }
    stage.play(by_way(**scripts))
    with client(stage.url) as caller:
        opened, traces = None, {}
        for way in [*scripts, "length"]:
            answer, received = ask(caller, way)
            assert (answer.status, received) == (200, body), way
            names = {name for name, _ in answer.headers}
            assert names.isdisjoint({"trailer", "connection", "keep-alive", "x-sum", "x-end"}), way
            assert ("content-length" in names) == (way in ("length", "length-closed"))
            opened = opened or caller.connection.sock
            assert caller.connection.sock is opened, f"{way} closed the client's connection"
            traces[way] = answer.trace_id
    assert {way: outcome(hub.record(trace)) for way, trace in traces.items()} == dict.fromkeys(
        scripts, ("completed", TEXT, USAGE)
    )


def test_an_event_stream_without_chunks_passes(stage: Stage, hub: HubReader) -> None:
    """It may have a length or end with the connection. If the usage event is removed, upstream's length is dropped."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    scripts = {
        "length": written(head + b"content-length: %d\r\n\r\n" % len(EVENTS), *STREAM_WITH_USAGE),
        "closed": written(head + b"connection: close\r\n\r\n", *STREAM_WITH_USAGE, close=True),
    }
    stage.play(by_way(**scripts))
    with client(stage.url) as caller:
        traces = []
        for way in scripts:
            answer, received = ask(caller, way, stream=True)
            assert received == EVENTS
            without_usage = caller.send("POST", CHAT, chat_body(stream=True), x_way=way)
            assert without_usage.read() == b"".join(STREAM)
            traces += [answer.trace_id, without_usage.trace_id]
    assert {outcome(hub.record(trace))[:2] for trace in traces} == {("completed", TEXT)}


def test_responses_without_a_body_pass(stage: Stage, hub: HubReader) -> None:
    """HEAD, 204 and 304 have none, whatever their headers; others may be empty; the connection stays usable."""
    scripts = {
        "HEAD": written(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5000\r\n\r\n"),
        "HEAD chunked": written(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
        "HEAD gzip": written(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 50\r\n\r\n"),
        "DELETE": written(b"HTTP/1.1 204 No Content\r\n\r\n"),
        "GET": written(b'HTTP/1.1 304 Not Modified\r\netag: "1"\r\n\r\n'),
        "GET length": written(b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5000\r\n\r\n"),
        "GET empty": sized(b""),
        "GET chunked": chunked(b"", 1),
        "POST created": sized(b"", 201),
    }
    stage.play(by_way(**scripts, after=sized(b"{}")))
    got = {}
    with client(stage.url) as caller:
        for way in scripts:
            answer = caller.send(way.partition(" ")[0], FILES, x_way=way)
            assert answer.read() == b"", way
            got[way] = answer
            after = caller.send("GET", FILES, x_way="after")
            assert (after.status, after.read()) == (200, b"{}"), way
    assert {way: answer.status for way, answer in got.items() if answer.status != 200} == {
        "DELETE": 204,
        "GET": 304,
        "GET length": 304,
        "POST created": 201,
    }
    assert got["HEAD"].header("content-length") == "5000"
    assert got["GET"].header("etag") == '"1"'
    assert {way: hub.record(answer.trace_id)["status"] for way, answer in got.items()} == dict.fromkeys(
        scripts, "completed"
    )


def test_an_empty_response_to_a_chat_is_recorded(stage: Stage, hub: HubReader) -> None:
    """An empty 200 is no answer, an event stream without events is cut; neither has usage that nobody reported."""
    stage.play(by_way(json=sized(b""), sse=chunked(b"", 1)))
    with client(stage.url) as caller:
        whole, nothing = ask(caller, "json")
        stream, none = ask(caller, "sse", stream=True)
    assert (nothing, none) == (b"", b"")
    assert outcome(hub.record(whole.trace_id)) == ("upstream_error", "", None)
    assert outcome(hub.record(stream.trace_id)) == ("upstream_cut", "", None)


def test_informational_responses_are_dropped(stage: Stage, hub: HubReader) -> None:
    """The client gets only the final response."""
    early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + (
        b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\nset-cookie: early=1\r\n\r\n" * 3
    )

    async def script(request: Seen, reply: Reply) -> None:
        await reply.raw(early)
        await reply.json(chat_json(), headers=AZURE_HEADERS)

    stage.play(script)
    with client(stage.url) as caller:
        answer = caller.chat()
        assert (answer.status, answer.read()) == (200, chat_json())
        assert answer.header("set-cookie") is None
        assert caller.chat().read() == chat_json()
    assert outcome(hub.record(answer.trace_id)) == ("completed", TEXT, USAGE)


def test_header_values_pass_unchanged(stage: Stage, hub: HubReader) -> None:
    """Their bytes pass: UTF-8, Latin-1, empty, long, and every Set-Cookie."""
    odd = [
        ("x-latin", b"caf\xe9"),
        ("x-utf-8", "café ✨".encode()),
        ("x-empty", b""),
        ("x-inner", b"a\tb  c"),
        ("x-long", b"l" * 7000),
        ("X-MS-Region", b"S\xfcd"),
        ("set-cookie", b"a=1; path=/; expires=Thu, 01 Jan 1970 00:00:00 GMT"),
        ("set-cookie", b"b=2"),
        ("set-cookie", b"a=3, c=4"),
    ]
    lines = b"".join(name.encode() + b": " + value + b"\r\n" for name, value in odd)
    answer_head = b"HTTP/1.1 200 D'acc\xf6rd\r\ncontent-type: application/json\r\n" + lines

    async def script(request: Seen, reply: Reply) -> None:
        await reply.raw(answer_head + b"content-length: %d\r\n\r\n" % len(chat_json()) + chat_json())

    stage.play(script)
    with client(stage.url) as caller:
        answer = caller.chat()
        assert answer.read() == chat_json()
    received = [(name, value.encode("latin-1")) for name, value in answer.headers]
    assert [pair for pair in received if pair[0] not in ("content-type", "content-length", "x-trace-id")] == [
        (name.lower(), value) for name, value in odd
    ]
    assert outcome(hub.record(answer.trace_id)) == ("completed", TEXT, USAGE)
