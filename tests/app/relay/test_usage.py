"""Token usage for streams whose client did not ask for it: asked for, recorded, and taken out of the stream again."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.door.door import json_object
from app.operations.embeddings import Embeddings
from app.operations.stream_options import request_usage
from app.relay.usage_event import UsageEventFilter
from tests.kit.hub import HubReader
from tests.kit.scripts import streaming
from tests.kit.upstream import Reply, Seen
from tests.kit.wire import CHAT, STREAM, STREAM_WITH_USAGE, TEXT, USAGE, chat_body, client

REFUSAL = b'{"error":{"message":"Unrecognized request argument supplied: stream_options","code":null}}'


def test_usage_is_asked_for_recorded_and_taken_out_again(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """The client's stream is what it would have been; upstream was asked, uncompressed; the record has the usage."""
    server = upstream(streaming(STREAM_WITH_USAGE))
    with client(proxy(server.url).url) as caller:
        answer = caller.chat(stream=True, accept_encoding="gzip")
        assert answer.read() == b"".join(STREAM)
    (seen,) = server.seen
    assert json.loads(seen.body) == {**json.loads(chat_body(stream=True)), "stream_options": {"include_usage": True}}
    assert seen.header("accept-encoding") == "identity"
    record = hub.record(answer.trace_id)
    assert (record["usage"], record["usage_source"], record["content"]) == (USAGE, "reported", TEXT)


def test_every_event_before_the_end_arrives_before_the_next_is_sent(upstream: Any, proxy: Any) -> None:
    """Asking for usage holds back nothing: each event is with the client before upstream sends the next."""
    received = asyncio.Semaphore(0)

    async def script(request: Seen, reply: Reply) -> None:
        await reply.stream_head()
        for one in STREAM_WITH_USAGE:
            await reply.chunk(one)
            if one in STREAM:
                await received.acquire()
        await reply.end()

    server = upstream(script)
    with client(proxy(server.url).url) as caller:
        answer = caller.chat(stream=True)
        for one in STREAM:
            assert answer.some() == one
            server.loop.call_soon_threadsafe(received.release)
        assert answer.some() == b""


def test_a_refusal_is_not_the_clients_to_see_and_is_remembered(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """Where upstream answers 400 for stream_options, the call is made without, and the next one at once so."""

    async def script(request: Seen, reply: Reply) -> None:
        if b"stream_options" in request.body:
            await reply.json(REFUSAL, 400)
        else:
            await streaming(STREAM)(request, reply)

    server = upstream(script)
    with client(proxy(server.url).url) as caller:
        first = caller.chat(stream=True)
        assert first.read() == b"".join(STREAM)
        again = caller.chat(stream=True)
        assert again.read() == b"".join(STREAM)
        caller.send("POST", CHAT.replace("2024-10-21", "other"), chat_body(stream=True)).read()
    asked = [b"stream_options" in seen.body for seen in server.seen]
    assert asked == [True, False, False, True, False]
    assert server.seen[1].body == chat_body(stream=True)
    assert hub.record(first.trace_id)["attempts"] == 2
    assert hub.record(again.trace_id)["attempts"] == 1
    assert {hub.record(one.trace_id)["usage_source"] for one in (first, again)} == {"estimated"}


def test_a_clients_own_mistake_is_not_remembered(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """A 400 that speaks of stream_options and comes without them just as well says nothing of other clients' calls."""

    async def script(request: Seen, reply: Reply) -> None:
        if b"my_stream_options" in request.body:
            await reply.json(b'{"error":{"message":"Unrecognized request argument: my_stream_options"}}', 400)
        else:
            await streaming(STREAM_WITH_USAGE)(request, reply)

    server = upstream(script)
    with client(proxy(server.url).url) as caller:
        mistaken = caller.send("POST", CHAT, chat_body(stream=True, my_stream_options=1))
        assert (mistaken.status, b"my_stream_options" in mistaken.read()) == (400, True)
        answer = caller.chat(stream=True)
        assert answer.read() == b"".join(STREAM)
    assert hub.record(answer.trace_id)["usage_source"] == "reported"


def test_another_400_is_the_clients(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """A 400 for anything else arrives whole, and nothing is asked twice."""
    body = b'{"error":{"code":"content_filter","message":"The prompt was filtered."}}'
    server = upstream(lambda request, reply: reply.json(body, 400))
    with client(proxy(server.url).url) as caller:
        answer = caller.chat(stream=True)
        assert (answer.status, answer.read()) == (400, body)
    assert len(server.seen) == 1
    assert hub.record(answer.trace_id)["error"]["code"] == "content_filter"


def test_the_clients_own_options_are_kept() -> None:
    """What the client set stays; usage is added; its own wish for usage, a refused option and a plain call are left."""
    options = json.loads(asking("stream_options", {"include_obfuscation": False}) or b"")["stream_options"]
    assert options == {"include_obfuscation": False, "include_usage": True}
    assert json.loads(asking("stream_options", None) or b"")["stream_options"] == {"include_usage": True}
    assert asking("stream_options", {"include_usage": True}) is None
    assert asking("stream_options", "odd") is None
    assert asking("data_sources", []) is None
    assert request_usage(b"{}", {}) is None
    assert Embeddings().request_usage(b'{"stream":true}', {"stream": True}) is None


ODD = [b'"\\ud83d"', b"123456789012345678901234567890", b"1e400", b"1.00", b"[" * 300 + b"]" * 300]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("options", [b'{"include_obfuscation": false}', b"null", b'{ "include_usage" : false }'])
def test_nothing_but_the_clients_options_is_changed(odd: bytes, options: bytes) -> None:
    """Whatever else is in the body, and be it nothing that could be written again, its bytes stay."""
    before, after = b'{"stream": true, "user": %b, "stream_options" : ' % odd, b', "messages": ["stream_options"]}'
    asked = request_usage(before + options + after, json_object(before + options + after))
    assert asked is not None
    assert asked.startswith(before)
    assert asked.endswith(after)
    changed = json.loads(asked[len(before) : -len(after)])
    assert changed == {**(json.loads(options) or {}), "include_usage": True}


@pytest.mark.parametrize(
    "body",
    [
        b'{"stream":true,"stream_options":{},"metadata":{"stream_options":{}}}',  # which of the two?
        b'{"stream":true,"stream\\u005foptions":{},"metadata":{"stream_options":{}}}',
        b'{"stream":true,"stream_options":{"x":{}}}',
        b'{"stream":true,"stream_options":{"x":"\\ud83d"}}',
    ],
)
def test_what_cannot_be_changed_for_sure_is_not(body: bytes) -> None:
    """Rather than to guess at a body, the client's own is sent."""
    assert request_usage(body, json_object(body)) is None


def asking(name: str, value: object) -> bytes | None:
    parsed = {"stream": True, name: value}
    return request_usage(json.dumps(parsed).encode(), parsed)


def test_only_a_member_is_added_to_the_clients_bytes() -> None:
    """The client's own bytes follow the added member exactly, odd spacing and all."""
    body = b' {\n "stream" : true , "x":1.00}'
    asked = request_usage(body, {"stream": True})
    assert asked is not None
    assert asked.replace(b'"stream_options":{"include_usage":true},', b"") == body


@given(st.data(), st.sampled_from([b"\n", b"\r\n"]))
def test_the_event_is_taken_out_wherever_the_bytes_are_cut(data: st.DataObject, line_end: bytes) -> None:
    """However the stream is cut into pieces, just the added event is missing from it."""
    whole = b"".join(STREAM_WITH_USAGE).replace(b"\n", line_end)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(whole) - 1), max_size=12)))
    filtering = UsageEventFilter()
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert b"".join([*map(filtering.feed, pieces), filtering.close()]) == b"".join(STREAM).replace(b"\n", line_end)


@given(st.integers(0, 400))
def test_nothing_is_lost_of_a_stream_that_breaks_off(end: int) -> None:
    """What was held when a stream ends without an event's end still passes, unchanged."""
    whole = b"".join(STREAM)
    broken = whole[: len(whole) - end]
    filtering = UsageEventFilter()
    assert filtering.feed(broken) + filtering.close() == broken


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_an_event_too_long_to_be_the_one_is_not_held(line_end: bytes) -> None:
    """After the finish, too, no more than some of a stream is kept back; and the next event is known again."""
    finished = b'data: {"choices":[{"finish_reason":"stop"}]}' + 2 * line_end
    usage = b'data: {"choices":[],"usage":{"total_tokens":1}}' + 2 * line_end
    filtering = UsageEventFilter()
    assert filtering.feed(finished) == finished
    sent, passed = b"data: ", filtering.feed(b"data: ")
    for _ in range(100):
        sent += b"x" * 1500
        passed += filtering.feed(b"x" * 1500)
        assert len(sent) - len(passed) <= 65 * 1024
    sent += 2 * line_end
    passed += filtering.feed(line_end) + filtering.feed(line_end + usage + finished) + filtering.close()
    assert passed == sent + finished


def test_text_that_speaks_of_usage_stays() -> None:
    """An event with choices is never taken out, whatever it says."""
    spoken = b'data: {"choices":[{"index":1,"delta":{"content":"x"}}],"usage":{"total_tokens":1}}\n\n'
    filtering = UsageEventFilter()
    finished = b'data: {"choices":[{"finish_reason":"stop"}]}\n\n'
    assert filtering.feed(finished) + filtering.feed(spoken) == finished + spoken
