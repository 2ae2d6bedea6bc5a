"""A stream for which the proxy requested usage reaches the client byte for byte as it would have come without."""

from collections.abc import Iterable
from itertools import pairwise

import pytest

from app.relay.usage_event import UsageEventFilter

START = b'data: {"choices":[{"delta":{"content":"a, {\\"usage\\":null} \\\\"},"index":0,"usage":null}],"id":"x"'
USAGE = b'data: {"id":"x","choices":[],"usage":{"prompt_tokens":1,"details":{"n":null}}}\n\n'
DONE = b"data: [DONE]\n\n"
NULLS = {
    "last": (START + b',"usage":null}\n\n', START + b"}\n\n"),
    "before padding": (
        START + b',"usage":null,"obfuscation":"Zx3"}\n\n',
        START + b',"obfuscation":"Zx3"}\n\n',
    ),
    "before another": (START + b',"usage":null,"o":{"p":[]}}\n\n', START + b',"o":{"p":[]}}\n\n'),
    "first": (b'data: {"usage":null,"a":"{"}\n\n', b'data: {"a":"{"}\n\n'),
    "alone": (b'data: {"usage":null}\n\n', b"data: {}\n\n"),
    "spaced": (b'data: {"a": [1], "usage": null, "b": 1}\r\n\r\n', b'data: {"a": [1], "b": 1}\r\n\r\n'),
    "spaced first": (b'data: { "usage" : null , "b": 1}\n\n', b'data: {"b": 1}\n\n'),
    "only nested": (START + b',"o":{"usage":null},"p":{"q":1,"usage":null}}\n\n', None),
    "in text": (b'data: {"choices":[{"delta":{"content":"{\\"a\\":1,\\"usage\\":null}"}}]}\n\n', None),
    "at lines' ends": (b'data: {"a":1,"usage":null\ndata: }\n\n', b'data: {"a":1\ndata: }\n\n'),
    "nested at a line's end": (b'data: {"a":{"b":1,"usage":null}\ndata: }\n\n', None),
    "after a comment": (b': "{\n\ndata: {"a":1,"usage":null}\n\n', b': "{\n\ndata: {"a":1}\n\n'),
    "another word": (b'data: {"a":1,"usages":null,"usage":nil}\n\n', None),
}


def filtered(stream: bytes, cuts: Iterable[int]) -> bytes:
    usage_filter = UsageEventFilter()
    pieces = [stream[start:end] for start, end in pairwise([0, *cuts, len(stream)])]
    return b"".join([*map(usage_filter.feed, pieces), usage_filter.close()])


@pytest.mark.parametrize("name", NULLS)
def test_a_null_usage_is_removed_for_every_split(name: str) -> None:
    """Only from the outermost object, never from a text, with the comma that goes with it."""
    sent, clean = NULLS[name]
    stream = sent + sent + USAGE + sent + DONE
    expected = b"".join([clean or sent, clean or sent, clean or sent, DONE])
    assert filtered(stream, []) == expected
    assert [at for at in range(1, len(stream)) if filtered(stream, [at]) != expected] == []
    assert filtered(stream, range(1, len(stream))) == expected


@pytest.mark.parametrize("name", NULLS)
def test_a_usage_event_is_removed_for_every_split_without_a_finish_reason(name: str) -> None:
    """Also where its beginning comes alone."""
    sent, clean = NULLS[name]
    stream, expected = sent + USAGE, clean or sent
    assert [at for at in range(1, len(stream)) if filtered(stream, [at]) != expected] == []


def test_only_a_partial_match_is_held_of_an_event_that_says_something() -> None:
    """The text passes immediately, however much of its event is still to come."""
    event = b'data: {"choices":[{"delta":{"content":"a"},"index":0}],"id":"x","usage":null}\n'
    clean, member = event.replace(b',"usage":null', b""), event.index(b',"usage"')
    usage_filter = UsageEventFilter()
    received = b""
    for at in range(len(event)):
        received += usage_filter.feed(event[at : at + 1])
        if event.index(b'"a') < at < member:
            assert event[: at + 1].removeprefix(received) in (b"", b",", b',"', b"{", b'{"')
    assert received == clean


@pytest.mark.parametrize("body", [b'{"id":"x","usage":null}', b"", b"{", b"<html>\n\n{,", b' {"usage":{"a":1}}'])
def test_what_is_no_stream_of_events_passes(body: bytes) -> None:
    """A JSON response to a request for a stream is the client's as it is."""
    for at in range(len(body)):
        assert filtered(body, [at]) == body


def test_a_large_event_passes_in_bounded_memory() -> None:
    """Its null is found behind a megabyte of sound."""
    head = b'data: {"choices":[{"delta":{"audio":{"data":"'
    pieces = [head, *[b"QUJD" * 1024] * 256, b'"}}}],"us', b'age":null}', b"\n\n"]
    usage_filter = UsageEventFilter()
    sent = passed = 0
    for piece in pieces[:-3]:
        sent += len(piece)
        passed += len(usage_filter.feed(piece))
        assert sent - passed <= len(head)
    assert b"".join(usage_filter.feed(piece) for piece in pieces[-3:]) == b'"}}}]}\n\n'


def test_blank_lines_at_the_start_are_not_held_for_long() -> None:
    """A server that keeps the connection alive with them delays nothing."""
    usage_filter = UsageEventFilter()
    passed = b"".join(usage_filter.feed(b"\n" * 64) for _ in range(100))
    assert len(passed) >= 100 * 64 - 1024
