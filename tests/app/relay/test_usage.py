"""Token usage of streams whose client did not request it: requested, recorded, and removed from the stream."""

import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.operations.embeddings import Embeddings
from app.operations.json_text import JsonText
from app.operations.members import Members
from app.operations.stream_options import request_usage
from app.relay.usage_event import UsageEventFilter
from tests.kit.hub import HubReader
from tests.kit.scripts import streaming
from tests.kit.upstream import Reply, Seen
from tests.kit.wire import CHAT, STREAM, STREAM_WITH_USAGE, TEXT, USAGE, chat_body, client

REFUSAL = b'{"error":{"message":"Unrecognized request argument supplied: stream_options","code":null}}'


def test_usage_is_requested_recorded_and_removed(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """The client gets the stream it requested; upstream got the option, uncompressed; the record has the usage."""
    server = upstream(streaming(STREAM_WITH_USAGE))
    with client(proxy(server.url).url) as caller:
        answer = caller.chat(stream=True, accept_encoding="gzip")
        assert answer.read() == b"".join(STREAM)
    (seen,) = server.seen
    assert json.loads(seen.body) == {**json.loads(chat_body(stream=True)), "stream_options": {"include_usage": True}}
    assert seen.header("accept-encoding") == "identity"
    record = hub.record(answer.trace_id)
    assert (record["usage"], record["usage_source"], record["content"]) == (USAGE, "reported", TEXT)


def test_a_rejected_usage_request_is_retried_without_and_remembered(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """If upstream rejects stream_options with a 400, the call is resent without, and later calls do not try it."""

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
    assert [b"stream_options" in seen.body for seen in server.seen] == [True, False, False, True, False]
    assert server.seen[1].body == chat_body(stream=True)
    assert hub.record(first.trace_id)["attempts"] == 2
    assert hub.record(again.trace_id)["attempts"] == 1
    assert {hub.record(one.trace_id)["usage_source"] for one in (first, again)} == {"estimated"}


def test_a_clients_invalid_request_is_not_remembered(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """A 400 that names stream_options, but also comes without them, does not affect other clients' calls."""

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


def test_any_other_400_passes(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """The client gets any other 400 unchanged, and there is no retry."""
    body = b'{"error":{"code":"content_filter","message":"The prompt was filtered."}}'
    server = upstream(lambda request, reply: reply.json(body, 400))
    with client(proxy(server.url).url) as caller:
        answer = caller.chat(stream=True)
        assert (answer.status, answer.read()) == (400, body)
    assert len(server.seen) == 1
    assert hub.record(answer.trace_id)["error"]["code"] == "content_filter"


def test_the_clients_stream_options_are_kept() -> None:
    """Usage is added to the client's options; a body with usage, invalid options or no stream stays as it is."""
    options = json.loads(with_usage("stream_options", {"include_obfuscation": False}) or b"")["stream_options"]
    assert options == {"include_obfuscation": False, "include_usage": True}
    assert json.loads(with_usage("stream_options", None) or b"")["stream_options"] == {"include_usage": True}
    assert with_usage("stream_options", {"include_usage": True}) is None
    assert with_usage("stream_options", "odd") is None
    assert with_usage("data_sources", []) is None
    assert request_usage(b"{}", {}) is None
    assert Embeddings().request_usage(b'{"stream":true}', {"stream": True}) is None


ODD = [b'"\\ud83d"', b"123456789012345678901234567890", b"1e400", b"1.00", b"[" * 300 + b"]" * 300]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("options", [b'{"include_obfuscation": false}', b"null", b'{ "include_usage" : false }'])
def test_only_the_stream_options_change(odd: bytes, options: bytes) -> None:
    """All other bytes of the body stay, even JSON that could not be serialized again."""
    before, after = b'{"stream": true, "user": %b, "stream_options" : ' % odd, b', "messages": ["stream_options"]}'
    sent = request_usage(before + options + after, Members.of(before + options + after))
    assert sent is not None
    assert sent.startswith(before)
    assert sent.endswith(after)
    changed = json.loads(sent[len(before) : -len(after)])
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
def test_an_ambiguous_body_is_not_changed(body: bytes) -> None:
    """If the place of the options is not certain, the client's own body is sent."""
    assert request_usage(body, Members.of(body)) is None


def with_usage(name: str, value: object) -> JsonText | None:
    parsed = {"stream": True, name: value}
    return request_usage(json.dumps(parsed).encode(), parsed)


def test_the_option_is_added_to_the_clients_bytes() -> None:
    """Apart from the added member, the client's bytes stay, spacing included."""
    body = b' {\n "stream" : true , "x":1.00}'
    sent = request_usage(body, {"stream": True})
    assert sent is not None
    assert sent.replace(b'"stream_options":{"include_usage":true},', b"") == body


def filtered(stream: bytes, cuts: Iterable[int]) -> bytes:
    """What passes the filter of a stream in pieces."""
    usage_filter = UsageEventFilter()
    pieces = [stream[start:end] for start, end in pairwise([0, *cuts, len(stream)])]
    return b"".join([*map(usage_filter.feed, pieces), usage_filter.close()])


LINE_ENDS = [b"\n", b"\r\n", b"\r"]


@given(st.data(), st.sampled_from(LINE_ENDS))
def test_the_usage_event_is_removed_however_the_stream_is_split(data: st.DataObject, line_end: bytes) -> None:
    """Only the usage event is missing from the stream, for any chunks."""
    stream = b"".join(STREAM_WITH_USAGE).replace(b"\n", line_end)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=12)))
    assert filtered(stream, cuts) == b"".join(STREAM).replace(b"\n", line_end)


@pytest.mark.parametrize("line_end", LINE_ENDS)
def test_the_usage_event_is_removed_for_every_split(line_end: bytes) -> None:
    """The same for every split in two, and for chunks of one byte."""
    stream, expected = (b"".join(events).replace(b"\n", line_end) for events in (STREAM_WITH_USAGE, STREAM))
    assert [at for at in range(1, len(stream)) if filtered(stream, [at]) != expected] == []
    assert filtered(stream, range(1, len(stream))) == expected


@given(st.integers(0, 400))
def test_a_broken_stream_passes_completely(end: int) -> None:
    """Bytes held when a stream breaks off in an event still pass, unchanged."""
    whole = b"".join(STREAM)
    broken = whole[: len(whole) - end]
    assert filtered(broken, []) == broken


@pytest.mark.parametrize("line_end", LINE_ENDS)
def test_an_event_over_the_limit_is_not_held(line_end: bytes) -> None:
    """Even after the finish reason, the filter holds a limited number of bytes, and then finds the next event."""
    finished = b'data: {"choices":[{"finish_reason":"stop"}]}' + 2 * line_end
    usage = b'data: {"choices":[],"usage":{"total_tokens":1}}' + 2 * line_end
    usage_filter = UsageEventFilter()
    assert usage_filter.feed(finished) == finished
    sent, passed = b"data: ", usage_filter.feed(b"data: ")
    for _ in range(100):
        sent += b"x" * 1500
        passed += usage_filter.feed(b"x" * 1500)
        assert len(sent) - len(passed) <= 65 * 1024
    sent += 2 * line_end
    passed += usage_filter.feed(line_end) + usage_filter.feed(line_end + usage + finished) + usage_filter.close()
    assert passed == sent + finished


def test_an_event_with_usage_and_choices_passes() -> None:
    """An event with choices is never removed."""
    spoken = b'data: {"choices":[{"index":1,"delta":{"content":"x"}}],"usage":{"total_tokens":1}}\n\n'
    usage_filter = UsageEventFilter()
    finished = b'data: {"choices":[{"finish_reason":"stop"}]}\n\n'
    assert usage_filter.feed(finished) + usage_filter.feed(spoken) == finished + spoken
