"""Streams that are not as Azure sends them: errors in several reads, other content types, refused and odd usage."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest

from app.relay.usage_event import UsageEventFilter
from tests.app.relay.stage import Stage
from tests.kit.hub import Broker, HubReader
from tests.kit.proxy import ProxyThread
from tests.kit.upstream import Reply, Seen
from tests.kit.wire import CHUNK, DONE, FILTER_FIRST, ROLE, STOP, STREAM, STREAM_WITH_USAGE, USAGE, client, delta, event

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


def test_a_usage_event_whose_beginning_was_sent_is_completed() -> None:
    """Half an event would be worse for the client than one too many."""
    usage_filter = UsageEventFilter()
    one = usage_event()
    passed = [usage_filter.feed(one[:20]), usage_filter.feed(one[20:]), usage_filter.close()]
    assert json.loads(b"".join(passed).removeprefix(b"data: "))["usage"] == USAGE
