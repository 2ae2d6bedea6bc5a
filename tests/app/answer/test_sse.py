"""SseScanner: the events of a stream, however it is split into chunks."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.answer.sse import EventTooLarge, SseScanner

BOM = b"\xef\xbb\xbf"


def scan(*pieces: bytes) -> list[bytes]:
    """All events of a stream in these chunks, an unfinished last one included."""
    scanner = SseScanner()
    return [data for piece in pieces for data in scanner.feed(piece)] + scanner.close()


def reference(stream: bytes) -> list[bytes]:
    """WHATWG HTML §9.2.6, line by line, except for its last rule: an unfinished last event counts."""
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
def test_events_match_the_specification(stream: bytes) -> None:
    """A whole stream gives the events of a line-by-line implementation."""
    assert scan(stream) == reference(stream)


@settings(deadline=None)
@given(stream=STREAMS, cuts=st.lists(st.integers(0, 200), max_size=20))
def test_chunks_do_not_matter(stream: bytes, cuts: list[int]) -> None:
    """A stream split anywhere, or at every byte, gives the events of the whole one."""
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(places)]
    assert scan(*pieces) == scan(*(stream[at : at + 1] for at in range(len(stream)))) == scan(stream)


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_an_event_is_complete_with_its_last_byte(end: bytes) -> None:
    """The last byte of an event returns it, without waiting for another byte."""
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
def test_lines_fields_and_comments(stream: bytes, events: list[bytes]) -> None:
    """Comments and other fields are ignored, lines of data joined by LF, one space after the colon dropped."""
    assert scan(stream) == events


@pytest.mark.parametrize("rest", [b"data: last", b"data: last\n", b"data: last\r", b"data: last\r\n", b"data:last"])
def test_a_last_event_without_its_empty_line(rest: bytes) -> None:
    """`close` returns an unfinished last event, once."""
    scanner = SseScanner()
    assert scanner.feed(b"data: first\n\n" + rest) == [b"first"]
    assert scanner.close() == [b"last"]
    assert scanner.close() == []


def test_an_event_over_the_limit_is_discarded() -> None:
    """Past the limit the scanner raises EventTooLarge and discards the event."""
    scanner = SseScanner(max_event=100)
    assert scanner.feed(b"data: " + b"x" * 94) == []
    with pytest.raises(EventTooLarge, match="100 bytes"):
        scanner.feed(b"x")
    assert scanner.close() == []


def test_the_limit_applies_to_a_single_event() -> None:
    """Several events in one chunk may exceed it together."""
    scanner = SseScanner(max_event=100)
    events = [b"x" * 50] * 10
    assert scanner.feed(b"".join(b"data: " + data + b"\n\n" for data in events)) == events
