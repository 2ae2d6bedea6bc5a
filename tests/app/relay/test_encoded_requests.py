"""JSON requests with a content-encoding: they go upstream as they came and are read decoded, within a limit."""

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable, Iterator

import brotli
import pytest
from backports import zstd

from app.door.inbound import YIELD_BYTES, _decoded
from app.operations.decoding import MAX_DECODED
from tests.app.relay.stage import Stage
from tests.kit.hub import Broker, HubReader
from tests.kit.proxy import ProxyThread
from tests.kit.scripts import streaming
from tests.kit.wire import CHAT, PROMPT, STREAM, STREAM_WITH_USAGE, TEXT, chat_body, chat_json, client

ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstd.compress,
}


@pytest.fixture(scope="module")
def stage(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(ProxyThread, broker, tmp_path_factory.mktemp("encoded")) as started:
        yield started


@pytest.mark.parametrize("encoding", ENCODERS)
def test_an_encoded_request_passes_as_it_is_and_is_recorded(stage: Stage, hub: HubReader, encoding: str) -> None:
    """Nothing is added to it, not even for a stream; the record has its prompt, and usage estimated from it."""
    body = ENCODERS[encoding](chat_body(stream=True))
    server = stage.play(streaming(STREAM))
    with client(stage.url) as caller:
        answer = caller.send("POST", CHAT, body, content_encoding=encoding)
        assert answer.read() == b"".join(STREAM)
    (seen,) = server.seen
    assert (seen.body, seen.header("content-encoding")) == (body, encoding)
    record = hub.record(answer.trace_id)
    assert (record["type"], record["prompt"], record["content"]) == ("stream_completion", PROMPT, TEXT)
    assert (record["usage_source"], record["usage"]["prompt_tokens"] > 0) == ("estimated", True)


def test_the_model_of_an_encoded_request_is_known(stage: Stage, hub: HubReader) -> None:
    """Under /openai/v1 it names the deployment."""
    stage.play(lambda request, reply: reply.json(b'{"choices":[],"usage":{"prompt_tokens":1}}'))
    body = gzip.compress(json.dumps({"model": "mine", "messages": PROMPT}).encode())
    with client(stage.url) as caller:
        answer = caller.send("POST", "/openai/v1/chat/completions", body, content_encoding="gzip")
        answer.read()
    assert hub.record(answer.trace_id)["deployment"] == "mine"


def test_the_response_shows_that_an_unread_request_asked_for_a_stream(stage: Stage, hub: HubReader) -> None:
    """Its record is a stream's."""
    stage.play(streaming(STREAM))
    with client(stage.url) as caller:
        answer = caller.send("POST", CHAT, b"unreadable", content_encoding="exotic")
        assert answer.read() == b"".join(STREAM)
    record = hub.record(answer.trace_id)
    assert (record["type"], record["content"]) == ("stream_completion", TEXT)


UNREADABLE = {
    "a bomb": ("gzip", gzip.compress(b'{"messages":"' + b"a" * (8 * MAX_DECODED) + b'"}')),
    "another encoding": ("compress", b"\x1f\x9d\x90"),
    "two encodings": ("gzip, br", brotli.compress(gzip.compress(chat_body()))),
    "not what it says": ("gzip", chat_body()),
    "cut": ("gzip", gzip.compress(chat_body())[:-20]),
    "no JSON": ("gzip", gzip.compress(b"hello")),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_encoded_request_that_cannot_be_read_passes_all_the_same(stage: Stage, hub: HubReader, name: str) -> None:
    """Upstream decides about it; the record has the answer, and no usage of a prompt that nobody read."""
    encoding, body = UNREADABLE[name]
    without_usage = json.loads(chat_json())
    del without_usage["usage"]
    server = stage.play(lambda request, reply: reply.json(json.dumps(without_usage).encode()))
    with client(stage.url) as caller:
        answer = caller.send("POST", CHAT, body, content_encoding=encoding)
        assert (answer.status, json.loads(answer.read())) == (200, without_usage)
    assert server.seen[0].body == body
    record = hub.record(answer.trace_id)
    assert (record["status"], record["prompt"], record["content"]) == ("completed", None, TEXT)
    assert (record["usage"], record["usage_source"]) == (None, "missing")


def test_identity_is_no_encoding(stage: Stage, hub: HubReader) -> None:
    """Such a body is read, and usage requested, as without the header."""
    server = stage.play(streaming(STREAM_WITH_USAGE))
    with client(stage.url) as caller:
        answer = caller.send("POST", CHAT, chat_body(stream=True), content_encoding="Identity")
        assert answer.read() == b"".join(STREAM)
        refused = caller.send("POST", CHAT, b"{", content_encoding="identity")
        assert (refused.status, b"invalid_body" in refused.read()) == (400, True)
    assert b"include_usage" in server.seen[0].body
    assert hub.record(answer.trace_id)["usage_source"] == "reported"


async def turns(body: bytes) -> tuple[bytes | None, int]:
    """The decoded body, and how often another task ran meanwhile."""
    decoding, count = asyncio.create_task(_decoded(body, "gzip")), 0
    while not decoding.done():
        await asyncio.sleep(0)
        count += 1
    return decoding.result(), count


def test_a_large_body_does_not_stop_other_calls() -> None:
    """Even one of 50,000 empty gzip members: other tasks run all along, at each 64 KiB of it."""
    body = gzip.compress(b"", mtime=0) * 50_000
    decoded, count = asyncio.run(turns(body))
    assert decoded == b""
    assert count >= len(body) // YIELD_BYTES
