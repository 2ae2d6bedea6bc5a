"""SseScanner: whatever the pieces, the events are those of the stream."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.answer.sse import EventTooLarge, SseScanner

BOM = b"\xef\xbb\xbf"


def scan(*pieces: bytes) -> list[bytes]:
    """All events of a stream that comes in these pieces, the unfinished last one included."""
    scanner = SseScanner()
    return [data for piece in pieces for data in scanner.feed(piece)] + scanner.close()


def reference(stream: bytes) -> list[bytes]:
    """WHATWG HTML §9.2.6 read line by line, but for its last rule: an unfinished last event counts here."""
    text = stream.removeprefix(BOM).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    events: list[bytes] = []
    data: bytes = b""
    for line in [*text.split(b"\n"), b""]:
        if line == b"":  # dispatch the event
            if data != b"":
                events.append(data.removesuffix(b"\n"))
            data = b""
        elif line.startswith(b":"):  # a comment
            continue
        elif b":" in line:
            field, value = line.split(b":", 1)
            if field == b"data":
                data += (value[1:] if value.startswith(b" ") else value) + b"\n"
        elif line == b"data":  # the whole line is the field's name, its value is empty
            data += b"\n"
    return events


LINES = st.one_of(
    st.sampled_from((b"data", b"data:", b"data: ", b"data:x", b"data:  x", b"data: {}", b" data: x", b"database: x")),
    st.sampled_from((b"", b":", b": keep-alive", b"event: delta", b"id: 1", b"id", b"retry: 9", b"Data: x", BOM)),
    st.just(b""),
    st.binary(max_size=6),
)
STREAMS = st.builds(
    lambda bom, lines, rest: bom + b"".join(line + end for line, end in lines) + rest,
    st.sampled_from([b"", b"", BOM, BOM + BOM, BOM[:1], BOM[:2]]),
    st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\r", b"\r\n"])), max_size=14),
    st.sampled_from([b"", b"data: last", b"data: last\n", b"data: last\r", b": comment", b"dat"]),
)


@settings(deadline=None)
@given(stream=STREAMS)
def test_events_are_those_of_the_specification(stream: bytes) -> None:
    """A whole stream gives the events that a line-by-line reading of the specification gives."""
    assert scan(stream) == reference(stream)


@settings(deadline=None)
@given(stream=STREAMS, cuts=st.lists(st.integers(0, 200), max_size=20))
def test_pieces_do_not_matter(stream: bytes, cuts: list[int]) -> None:
    """A stream cut at any bytes, empty pieces included, gives the events of the whole one."""
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(places)]
    assert scan(*pieces) == scan(stream)


@settings(deadline=None)
@given(stream=STREAMS)
def test_byte_by_byte(stream: bytes) -> None:
    """A stream cut at every byte gives the events of the whole one."""
    assert scan(*(stream[at : at + 1] for at in range(len(stream)))) == scan(stream)


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_an_event_is_there_with_its_last_byte(end: bytes) -> None:
    """The byte that completes an event hands it out; it does not wait for a byte that may never come."""
    scanner = SseScanner()
    stream = b"data: one" + end + end.removesuffix(b"\n" if end == b"\r\n" else b"")
    assert [scanner.feed(stream[at : at + 1]) for at in range(len(stream) - 1)] == [[]] * (len(stream) - 1)
    assert scanner.feed(stream[-1:]) == [b"one"]
    assert scanner.feed(b"\n" if end == b"\r\n" else b"") == []


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data:a\n\ndata:  a\n\n", [b"a", b" a"]),
        (b"data: a\ndata: b\ndata: c\n\n", [b"a\nb\nc"]),
        (b"data\n\ndata\ndata\n\ndata:", [b"", b"\n", b""]),
        (b"data: \n\n", [b""]),
        (b"event: message\nid: 7\nretry: 10\ndata: a\n\n", [b"a"]),
        (b"event: ping\n\n: comment\n\nid\n\n", []),
        (b": data: a\n\n", []),
        (b"\n\n\n\ndata: a\n\n\n\n\n", [b"a"]),
        (BOM + b"data: a\n\n" + BOM + b"data: b\n\n", [b"a"]),
        (b"data: a\r\n\r\ndata: b\r\rdata: c\r\n\n", [b"a", b"b", b"c"]),
        (b"data: \xff\x00\xe2\x80\xa8\n\n", [b"\xff\x00\xe2\x80\xa8"]),
    ],
)
def test_by_example(stream: bytes, events: list[bytes]) -> None:
    """Comments and other fields are passed over, lines of data joined by LF, one space behind the colon left out."""
    assert scan(stream) == events


@pytest.mark.parametrize("rest", [b"data: last", b"data: last\n", b"data: last\r", b"data: last\r\n", b"data:last"])
def test_a_last_event_without_its_empty_line(rest: bytes) -> None:
    """What the stream's end leaves unfinished is handed out by `close`, and only once."""
    scanner = SseScanner()
    assert scanner.feed(b"data: first\n\n" + rest) == [b"first"]
    assert scanner.close() == [b"last"]
    assert scanner.close() == []


def test_a_too_large_event_is_not_held() -> None:
    """Past the limit EventTooLarge is raised, and nothing of the event stays in memory or comes out later."""
    scanner = SseScanner(max_event=100)
    assert scanner.feed(b"data: " + b"x" * 94) == []
    with pytest.raises(EventTooLarge, match="100 bytes"):
        scanner.feed(b"x")
    assert scanner.close() == []


def test_many_events_may_be_larger_than_the_limit_together() -> None:
    """The limit is on one event that has no end, not on what comes in one piece."""
    scanner = SseScanner(max_event=100)
    events = [b"x" * 50] * 10
    assert scanner.feed(b"".join(b"data: " + data + b"\n\n" for data in events)) == events
