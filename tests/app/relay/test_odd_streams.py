"""Streams that are not as Azure sends them: errors in several reads, other content types, refused and odd usage."""

import gzip
import http.client
import zlib
from collections.abc import Iterator
from typing import Any

import brotli
import pytest
from backports import zstd

from app.relay.usage_event import UsageEventFilter
from tests.app.relay.stage import Stage
from tests.kit.hub import Broker, HubReader
from tests.kit.proxy import ProxyThread
from tests.kit.upstream import Reply, Seen
from tests.kit.wire import CHUNK, DONE, FILTER_FIRST, ROLE, STOP, STREAM, STREAM_WITH_USAGE, USAGE, client, delta, event

SSE = {"content-type": "text/event-stream"}
ERROR = b'data: {"error":{"code":"server_error","message":"Later.","pad":"%b"}}\n'


@pytest.fixture(scope="module")
def stage(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(ProxyThread, broker, tmp_path_factory.mktemp("odd-streams")) as started:
        yield started


@pytest.mark.parametrize("leaves", [False, True], ids=["upstream breaks off", "the client leaves"])
@pytest.mark.parametrize("rest", [b"\n", b""], ids=["whole", "without its end"])
@pytest.mark.parametrize("cut", [12, 60, 16_384])
def test_an_error_in_several_reads_counts(stage: Stage, hub: HubReader, cut: int, rest: bytes, leaves: bool) -> None:
    """An error within a stream is the call's outcome, wherever its bytes are split and whatever happens after it."""

    async def script(request: Seen, reply: Reply) -> None:
        await reply.stream_head()
        await reply.chunk(ROLE + delta({"content": "Hi"}))
        told = ERROR % (b"x" * 17_000)
        await reply.chunk(told[:cut])
        await reply.chunk(told[cut:])
        if rest:
            await reply.chunk(rest)
        if leaves:
            await reply.hung_up()
        else:
            reply.reset()

    stage.play(script)
    with client(stage.url) as caller:
        answer = caller.chat(stream=True)
        received = b""
        while b"}}\n" not in received:
            received += answer.some()
        if leaves:
            caller.leave()
    record = hub.record(answer.trace_id)
    assert (record["status"], record["error"]["code"]) == ("upstream_error", "server_error")


REFUSALS = [
    (422, b'{"detail":[{"type":"extra_forbidden","loc":["body","stream_options"]}]}', {}),
    (501, b'{"error":{"message":"not implemented"}}', {}),
    (400, b'{"error":{"message":"Additional properties are not allowed"}}', {}),
    (400, gzip.compress(b'{"error":{"message":"unknown field stream_options"}}'), {"content-encoding": "gzip"}),
]


@pytest.mark.parametrize(("status", "body", "headers"), REFUSALS)
def test_a_refused_request_for_usage_is_sent_again_without(
    stage: Stage, hub: HubReader, status: int, body: bytes, headers: dict[str, str]
) -> None:
    """The client never sees the refusal of a field that it did not send; upstream is asked once more."""

    async def script(request: Seen, reply: Reply) -> None:
        if b"stream_options" in request.body:
            await reply.json(body, status, headers)
            return
        await reply.stream_head()
        for one in STREAM:
            await reply.chunk(one)
        await reply.end()

    server = stage.play(script)
    path = f"/openai/deployments/refuses-{status}-{len(body)}/chat/completions?api-version=1"
    with client(stage.url) as caller:
        for _ in range(2):
            answer = caller.send("POST", path, b'{"stream":true,"messages":[]}')
            assert (answer.status, answer.read()) == (200, b"".join(STREAM))
    assert [b"stream_options" in seen.body for seen in server.seen] == [True, False, False]


@pytest.mark.parametrize("kind", [None, "text/plain", "application/octet-stream", "application/json"])
def test_a_stream_is_one_by_its_bytes(stage: Stage, hub: HubReader, kind: str | None) -> None:
    """Without its content type a stream is read, and the event that the client did not ask for is removed."""

    async def script(request: Seen, reply: Reply) -> None:
        named = {"content-type": kind} if kind else {}
        await reply.head(200, {"transfer-encoding": "chunked", **named})
        for one in STREAM_WITH_USAGE:
            await reply.chunk(one)
        await reply.end()

    stage.play(script)
    with client(stage.url) as caller:
        answer = caller.chat(stream=True)
        assert answer.read() == b"".join(STREAM)
        assert answer.header("content-type") == kind
    record = hub.record(answer.trace_id)
    assert (record["status"], record["usage"]["total_tokens"]) == ("completed", USAGE["total_tokens"])


def usage_event(**more: Any) -> bytes:
    return event({**CHUNK, "choices": [], "usage": USAGE, **more})


TEXT = delta({"content": "Hi"})
ODD = {
    "no finish reason": ([ROLE, TEXT, usage_event(), DONE], [ROLE, TEXT, DONE]),
    "a blank line of CRLF": ([ROLE, STOP, usage_event().replace(b"\n\n", b"\n\r\n"), DONE], [ROLE, STOP, DONE]),
    "an empty choice": (
        [STOP, usage_event(choices=[{"index": 0, "delta": {}, "finish_reason": None}]), DONE],
        [STOP, DONE],
    ),
    "no end": ([STOP, usage_event().rstrip(b"\n")], [STOP]),
    "usage with text": ([ROLE, event({**CHUNK, "choices": [{"delta": {"content": "a"}}], "usage": USAGE}), DONE], None),
}


@pytest.mark.parametrize("name", ODD)
def test_the_usage_event_is_removed_in_odd_streams(name: str) -> None:
    """However the event is framed and whatever came before; an event that says something stays."""
    sent, expected = ODD[name]
    usage_filter = UsageEventFilter()
    passed = [usage_filter.feed(one) for one in [FILTER_FIRST, *sent]]
    assert b"".join([*passed, usage_filter.close()]) == b"".join([FILTER_FIRST, *(expected or sent)])


COMPRESSORS = {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress, "zstd": zstd.compress}


@pytest.mark.parametrize("encoding", COMPRESSORS)
def test_a_stream_that_was_asked_for_plain_reaches_the_client_plain(
    stage: Stage, hub: HubReader, encoding: str
) -> None:
    """Upstream may compress all the same; the event that the client did not ask for is in there too."""
    compressed = COMPRESSORS[encoding](b"".join(STREAM_WITH_USAGE))

    async def script(request: Seen, reply: Reply) -> None:
        assert request.header("accept-encoding") == "identity"
        await reply.head(200, {"transfer-encoding": "chunked", **SSE, "content-encoding": encoding})
        for at in range(0, len(compressed), 50):
            await reply.chunk(compressed[at : at + 50])
        await reply.end()

    stage.play(script)
    with client(stage.url) as caller:
        answer = caller.chat(stream=True, accept_encoding=encoding)
        assert (answer.read(), answer.header("content-encoding")) == (b"".join(STREAM), None)
    record = hub.record(answer.trace_id)
    assert (record["status"], record["usage"]["total_tokens"]) == ("completed", USAGE["total_tokens"])


def test_a_stream_that_cannot_be_decoded_breaks_off(stage: Stage, hub: HubReader) -> None:
    """Where the client must get it decoded, bytes that do not match their encoding end the call as a cut."""
    garbled = gzip.compress(b"".join(STREAM_WITH_USAGE), mtime=0)[:60] + b"garbled" * 20

    async def script(request: Seen, reply: Reply) -> None:
        await reply.head(200, {"transfer-encoding": "chunked", **SSE, "content-encoding": "gzip"})
        await reply.chunk(garbled)
        await reply.end()

    stage.play(script)
    with client(stage.url) as caller:
        answer = caller.chat(stream=True)
        with pytest.raises((http.client.HTTPException, OSError)):
            answer.read()
    record = hub.record(answer.trace_id)
    assert (record["status"], record["error"]["code"]) == ("upstream_cut", "connection_broken")


def test_an_unknown_encoding_passes_untouched(stage: Stage, hub: HubReader) -> None:
    """What the proxy cannot read, it leaves alone."""

    async def script(request: Seen, reply: Reply) -> None:
        await reply.head(200, {"transfer-encoding": "chunked", **SSE, "content-encoding": "exotic"})
        await reply.chunk(b"\x00\x01data")
        await reply.end()

    stage.play(script)
    with client(stage.url) as caller:
        answer = caller.chat(stream=True)
        assert (answer.read(), answer.header("content-encoding")) == (b"\x00\x01data", "exotic")
    assert hub.record(answer.trace_id)["usage_source"] == "missing"
