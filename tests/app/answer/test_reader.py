"""AnswerReader: bytes as they come off the wire become the facts of the call."""

import gzip
import json
import zlib
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import brotli
import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from app.answer.reader import AnswerReader
from app.operations import Operation, Plain
from app.operations.chat import Chat
from otel.call import Call, Status, Usage
from tests.app.operations.shapes import JSON, SSE
from tests.kit.wire import DONE, FILTER_FIRST, ROLE, SAFE, STOP, STREAM_WITH_USAGE, TEXT, chat_json, delta, event

COUNTS = Usage(
    12, 7, 19, {"completion_tokens_details": {"reasoning_tokens": 0}, "prompt_tokens_details": {"cached_tokens": 4}}
)
TOOL = {"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "f", "arguments": ""}, "type": "function"}]}


def reading(kind: str, encoding: str | None = None, status: int = 200, operation: Operation | None = None) -> Any:
    """A call and the reader of its answer."""
    call = Call(operation="chat", http_status=status)
    return call, AnswerReader(call, operation or Chat(), kind, encoding, status < 400)


def read(pieces: Iterable[bytes], *args: Any, whole: bool = True, **more: Any) -> Call:
    """The call whose answer came in these pieces."""
    call, reader = reading(*args, **more)
    for piece in pieces:
        reader.feed(piece)
    reader.close(whole)
    return call


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def test_a_stream_gives_its_facts() -> None:
    """Text, usage, identity, verdicts and the number of events are read off a stream."""
    call = read(STREAM_WITH_USAGE, SSE)
    (choice,) = call.answer.choices
    assert (choice.content, choice.finish_reason) == (TEXT, "stop")
    assert call.answer.usage == COUNTS
    assert call.answer.usage_source == "reported"
    assert call.answer.model == "gpt-4.1-mini-2025-04-14"
    assert call.answer.content_filter == {"prompt": SAFE, "completion": SAFE}
    assert call.chunks == len(STREAM_WITH_USAGE) - 1
    assert call.response_bytes == len(b"".join(STREAM_WITH_USAGE))
    assert call.status is Status.COMPLETED


@settings(deadline=None)
@given(cuts=st.lists(st.integers(0, len(b"".join(STREAM_WITH_USAGE))), max_size=30))
def test_how_a_stream_is_cut_does_not_matter(cuts: list[int]) -> None:
    """The facts are the same whatever the pieces."""
    stream = b"".join(STREAM_WITH_USAGE)
    places = [0, *sorted(cuts), len(stream)]
    call = read((stream[start:end] for start, end in pairwise(places)), SSE)
    assert call.answer == read([stream], SSE).answer
    assert call.chunks == len(STREAM_WITH_USAGE) - 1
    assert call.status is Status.COMPLETED


@pytest.mark.parametrize(
    "token",
    [
        {"content": "Why"},
        {"reasoning_content": "Hm"},
        {"refusal": "No"},
        TOOL,
        {"content": None, "role": "assistant", **TOOL},
    ],
)
def test_the_first_token_is_the_first_thing_generated(token: dict[str, object]) -> None:
    """Filter results, a bare role and empty text are no token; text, reasoning, a refusal or a tool call is one."""
    call, reader = reading(SSE)
    offsets = event({"choices": [{"index": 0, "content_filter_offsets": {"end_offset": 9}}], "id": ""})
    for early in (FILTER_FIRST, ROLE, delta({}), delta({"content": None, "refusal": None}), offsets, b": ping\n\n"):
        reader.feed(early)
        assert call.first_token_ns is None
    reader.feed(delta(token))
    first = call.first_token_ns
    assert first is not None
    for later in (delta({"content": "later"}), STOP, DONE):
        reader.feed(later)
    reader.close(True)
    assert call.first_token_ns == first


def test_half_a_token_is_none() -> None:
    """The token's time is that of the piece that completes its event."""
    call, reader = reading(SSE)
    whole = delta({"content": "Why"})
    reader.feed(whole[:-1])
    assert call.first_token_ns is None
    reader.feed(whole[-1:])
    assert call.first_token_ns is not None


def test_a_stream_of_filter_results_alone_has_no_first_token() -> None:
    """A stream in which nothing was generated has no time of a first token."""
    assert read([FILTER_FIRST, ROLE, delta({}, "content_filter"), DONE], SSE).first_token_ns is None


def test_an_error_event_within_a_stream() -> None:
    """An error event in a 200 stream makes the call an upstream error; what came before it is kept."""
    fault = event({"error": {"message": "The server had an error", "type": "server_error", "code": None}})
    call = read([FILTER_FIRST, ROLE, delta({"content": "Why"}), fault], SSE)
    assert (call.status, call.error_code) == (Status.UPSTREAM_ERROR, "server_error")
    assert call.error_message == "The server had an error"
    assert call.answer.choices[0].content == "Why"
    assert read([event({"error": "odd"}), DONE], SSE).status is Status.UPSTREAM_ERROR
    assert read([event({"error": None}), DONE], SSE).status is Status.COMPLETED


def test_a_stream_without_its_end_was_cut() -> None:
    """Where upstream closes before [DONE] the call was cut; a last event without empty line is read all the same.

    Of a body that broke off the reader says nothing: why it did is known to those who sent it.
    """
    assert read(STREAM_WITH_USAGE[:5], SSE, whole=False).status is Status.COMPLETED
    call = read([*STREAM_WITH_USAGE[:-2], STREAM_WITH_USAGE[-2].rstrip()], SSE)
    assert (call.status, call.error_code) == (Status.UPSTREAM_CUT, "stream_incomplete")
    assert call.answer.usage == COUNTS
    assert read([b"".join(STREAM_WITH_USAGE).rstrip()], SSE).status is Status.COMPLETED


def test_events_that_say_nothing_are_counted_and_no_more() -> None:
    """Events that are no JSON object neither fail nor hide the others."""
    call = read([b"data: {\n\n", b"data: []\n\n", b"data: \xff\n\n", *STREAM_WITH_USAGE], SSE)
    assert call.answer.choices[0].content == TEXT
    assert call.chunks == len(STREAM_WITH_USAGE) + 2
    assert call.status is Status.COMPLETED


def test_a_json_answer_gives_its_facts() -> None:
    """A whole answer is read once its last byte is there."""
    call = read(cut(chat_json(), 50), JSON)
    assert call.answer.choices[0].content == TEXT
    assert (call.answer.usage, call.answer.usage_source) == (COUNTS, "reported")
    assert call.status is Status.COMPLETED
    assert call.first_token_ns is None


@pytest.mark.parametrize(
    ("status", "error", "code", "message"),
    [
        (429, {"code": "429", "message": "Rate limit is exceeded."}, "429", "Rate limit is exceeded."),
        (401, {"code": "401", "message": "Access denied"}, "401", "Access denied"),
        (500, {"message": "Busy", "type": "server_error", "param": None, "code": None}, "server_error", "Busy"),
        (400, {"code": 400, "message": "Extra inputs"}, "400", "Extra inputs"),
        (503, {}, "503", None),
        (503, None, "503", None),
        (503, "down", "503", None),
        (503, {"code": ["odd"], "message": {"odd": 1}}, "['odd']", None),
    ],
)
def test_an_error_is_named(status: int, error: object, code: str, message: str | None) -> None:
    """An error answer of any shape is an upstream error with the code and message it gives, else its status."""
    call = read([json.dumps({"error": error}).encode()], JSON, status=status)
    assert (call.status, call.error_code, call.error_message) == (Status.UPSTREAM_ERROR, code, message)
    assert call.answer.choices == []


def test_an_error_without_content_type_is_named_too() -> None:
    """Azure's 404 for an unknown deployment has no Content-Type; it is read all the same."""
    body = (
        b'{"error": {"type": "invalid_request_error", "code": "DeploymentNotFound", "message": "It does not exist."}}'
    )
    call = read([body], "", status=404)
    assert (call.error_code, call.error_message) == ("DeploymentNotFound", "It does not exist.")


def test_an_error_in_a_200_is_an_upstream_error() -> None:
    """A filtered prompt may come as 200 with an error object: an error, with the filter's verdict on the prompt."""
    verdict = {"hate": {"filtered": True, "severity": "high"}}
    error = {"code": "content_filter", "message": "Filtered.", "innererror": {"content_filter_result": verdict}}
    call = read([json.dumps({"error": error}).encode()], JSON)
    assert (call.status, call.error_code) == (Status.UPSTREAM_ERROR, "content_filter")
    assert call.answer.content_filter == {"prompt": verdict}
    assert call.answer.usage_source == "missing"


def test_an_error_page_is_an_upstream_error() -> None:
    """A gateway's HTML page is an upstream error by its status, and none of its text is taken for an answer."""
    call = read([b"<html><body>502 Bad Gateway</body></html>"], "text/html", status=502)
    assert (call.status, call.error_code, call.error_message) == (Status.UPSTREAM_ERROR, "502", None)
    assert call.answer.choices == []


def test_an_error_status_is_an_error_whatever_its_type() -> None:
    """An error that calls itself an event stream is an upstream error, not a stream that was cut."""
    assert read([b"oops"], SSE, status=500).status is Status.UPSTREAM_ERROR
    assert read([], SSE, status=503).error_code == "503"


@pytest.mark.parametrize("body", [chat_json()[:-20], b"[]", b'"text"', b"<html>", b"\xff"])
def test_a_success_that_is_no_json_object(body: bytes) -> None:
    """A known operation's 200 that cannot be read is an upstream error; where the body broke off, that is why."""
    assert read([body], JSON).error_code == "invalid_json"
    assert read([body], JSON, operation=Plain()).status is Status.COMPLETED
    call, reader = reading(JSON)
    reader.feed(body)
    call.fail(Status.UPSTREAM_CUT, "connection_broken", None)
    reader.close(False)
    assert (call.status, call.error_code) == (Status.UPSTREAM_CUT, "connection_broken")


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize(
    ("encoding", "squeeze"),
    [
        ("gzip", gzip.compress),
        ("X-GZIP ", gzip.compress),
        ("deflate", zlib.compress),
        ("br", brotli.compress),
        ("zstd", zstd.compress),
    ],
)
def test_a_compressed_answer_is_read(size: int, encoding: str, squeeze: Callable[[bytes], bytes]) -> None:
    """gzip, deflate, Brotli and zstd are undone piece by piece, for JSON and for streams."""
    whole = read(cut(squeeze(chat_json()), size), JSON, encoding)
    stream = read(cut(squeeze(b"".join(STREAM_WITH_USAGE)), size), SSE, encoding)
    for call in (whole, stream):
        assert call.answer.choices[0].content == TEXT
        assert call.answer.usage == COUNTS
        assert call.status is Status.COMPLETED
    assert stream.chunks == len(STREAM_WITH_USAGE) - 1


def test_the_first_token_of_a_compressed_stream() -> None:
    """A compressed event is seen when its own bytes are there, not when the stream has ended."""
    call, reader = reading(SSE, "gzip")
    squeeze = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    reader.feed(squeeze.compress(FILTER_FIRST + ROLE) + squeeze.flush(zlib.Z_SYNC_FLUSH))
    assert call.first_token_ns is None
    reader.feed(squeeze.compress(delta({"content": "Why"})) + squeeze.flush(zlib.Z_SYNC_FLUSH))
    assert call.first_token_ns is not None


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip", "deflate", "gzip, br", "compress"])
@pytest.mark.parametrize("content_type", [JSON, SSE])
def test_what_cannot_be_decoded_lacks_facts_and_no_more(encoding: str, content_type: str) -> None:
    """With an unknown encoding, or bytes that are not what the header says, usage is missing and nothing fails."""
    call = read([b"\x1b\x03\x00", b"not compressed", b"data: {}\n\n"], content_type, encoding)
    assert (call.answer.usage, call.answer.usage_source) == (None, "missing")
    assert call.status is Status.COMPLETED
    assert call.response_bytes == 3 + 14 + 10


def test_a_too_large_event_ends_the_reading_only() -> None:
    """Past the scanner's limit nothing more is read or kept; what was read stays, and the call is no failure."""
    call, reader = reading(SSE)
    reader.feed(delta({"content": "Why"}))
    piece = b"x" * 1024 * 1024
    reader.feed(b"data: ")
    for _ in range(20):
        reader.feed(piece)
    reader.feed(DONE)
    reader.close(True)
    assert call.answer.choices[0].content == "Why"
    assert call.status is Status.COMPLETED
    assert call.response_bytes > 20 * len(piece)


@pytest.mark.parametrize("megabytes", [1, 40])
def test_of_a_too_large_answer_only_the_end_is_kept(megabytes: int) -> None:
    """A JSON answer past the limit is not held: its choices are missing, the usage behind them is there."""
    body = json.loads(chat_json())
    usage = b', "usage": ' + json.dumps(body.pop("usage")).encode() + b"}"
    start = json.dumps(body)[:-1].encode() + b', "padding": "'
    call = read([start, *[b"x" * 1024 * 1024] * megabytes, b'"', usage], JSON)
    assert len(call.answer.choices) == (1 if megabytes == 1 else 0)
    assert call.answer.usage == COUNTS
    assert call.status is Status.COMPLETED


def test_what_is_neither_json_nor_a_stream_is_counted() -> None:
    """Of an answer of another type only the bytes are known."""
    call = read([b"any", b"bytes"], "audio/mpeg")
    assert (call.response_bytes, call.status) == (8, Status.COMPLETED)
    assert call.answer.choices == []


@settings(deadline=None)
@given(body=st.binary(max_size=60), content_type=st.sampled_from([JSON, SSE]), status=st.sampled_from([200, 500]))
@pytest.mark.parametrize("encoding", [None, "gzip", "deflate", "br", "zstd"])
def test_no_bytes_fail(encoding: str | None, body: bytes, content_type: str, status: int) -> None:
    """Whatever upstream sends, reading it raises nothing."""
    assert read(cut(body, 9), content_type, encoding, status=status).response_bytes == len(body)
