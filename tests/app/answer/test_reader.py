"""AnswerReader: from the bytes of a response to the facts of a call."""

import json
import zlib
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.answer.reader import AnswerReader
from app.operations import Operation, Plain
from app.operations.audio import Speech
from app.operations.chat import Chat
from otel.call import Call, Status, Usage
from tests.app.operations.shapes import JSON, SSE
from tests.kit.wire import DONE, FILTER_FIRST, ROLE, SAFE, STOP, STREAM_WITH_USAGE, TEXT, chat_json, delta, event

COUNTS = Usage(
    12, 7, 19, {"completion_tokens_details": {"reasoning_tokens": 0}, "prompt_tokens_details": {"cached_tokens": 4}}
)
TOOL = {"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "f", "arguments": ""}, "type": "function"}]}


def reading(kind: str, encoding: str | None = None, status: int = 200, operation: Operation | None = None) -> Any:
    """A call and the reader of its response."""
    call = Call(operation="chat", http_status=status)
    return call, AnswerReader(call, operation or Chat(), kind, encoding, status < 400)


def read(pieces: Iterable[bytes], *args: Any, whole: bool = True, **more: Any) -> Call:
    """The call whose response arrived in these chunks."""
    call, reader = reading(*args, **more)
    for piece in pieces:
        reader.feed(piece)
    reader.close(whole)
    return call


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def test_a_stream_gives_its_facts() -> None:
    """Text, usage, identity, verdicts and the number of events."""
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
def test_chunks_do_not_matter(cuts: list[int]) -> None:
    """A stream gives the same facts, however it is split."""
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
def test_the_first_token_is_the_first_output(token: dict[str, object]) -> None:
    """Filter results, a role and empty text are no token; text, reasoning, a refusal or a tool call is one."""
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


def test_a_token_counts_when_its_event_is_complete() -> None:
    """Its time is that of the chunk that completes the event."""
    call, reader = reading(SSE)
    whole = delta({"content": "Why"})
    reader.feed(whole[:-1])
    assert call.first_token_ns is None
    reader.feed(whole[-1:])
    assert call.first_token_ns is not None


def test_a_stream_without_output_has_no_first_token() -> None:
    """Filter results alone have no time of a first token."""
    assert read([FILTER_FIRST, ROLE, delta({}, "content_filter"), DONE], SSE).first_token_ns is None


def test_an_error_event_fails_the_call() -> None:
    """An error event in a 200 stream makes the call an upstream error; the output before it is kept."""
    fault = event({"error": {"message": "The server had an error", "type": "server_error", "code": None}})
    call = read([FILTER_FIRST, ROLE, delta({"content": "Why"}), fault], SSE)
    assert (call.status, call.error_code) == (Status.UPSTREAM_ERROR, "server_error")
    assert call.error_message == "The server had an error"
    assert call.answer.choices[0].content == "Why"
    assert read([event({"error": "odd"}), DONE], SSE).status is Status.UPSTREAM_ERROR
    assert read([event({"error": None}), DONE], SSE).status is Status.COMPLETED


def test_a_stream_without_its_last_event_is_cut() -> None:
    """If a complete body lacks [DONE], the call is upstream_cut; a last event without its empty line is read.

    If the body broke off, the reader leaves the status to the relay.
    """
    assert read(STREAM_WITH_USAGE[:5], SSE, whole=False).status is Status.COMPLETED
    call = read([*STREAM_WITH_USAGE[:-2], STREAM_WITH_USAGE[-2].rstrip()], SSE)
    assert (call.status, call.error_code) == (Status.UPSTREAM_CUT, "stream_incomplete")
    assert call.answer.usage == COUNTS
    assert read([b"".join(STREAM_WITH_USAGE).rstrip()], SSE).status is Status.COMPLETED


def test_invalid_events_are_counted_and_ignored() -> None:
    """Events that are not a JSON object neither fail nor hide others."""
    call = read([b"data: {\n\n", b"data: []\n\n", b"data: \xff\n\n", *STREAM_WITH_USAGE], SSE)
    assert call.answer.choices[0].content == TEXT
    assert call.chunks == len(STREAM_WITH_USAGE) + 2
    assert call.status is Status.COMPLETED


def test_a_json_answer_gives_its_facts() -> None:
    """A whole answer is read after its last byte."""
    call = read(cut(chat_json(), 50), JSON)
    assert call.answer.choices[0].content == TEXT
    assert (call.answer.usage, call.answer.usage_source) == (COUNTS, "reported")
    assert call.status is Status.COMPLETED
    assert call.first_token_ns is None


@pytest.mark.parametrize(
    ("status", "body", "code", "message"),
    [
        (429, b'{"error":{"code":"429","message":"Rate limit is exceeded."}}', "429", "Rate limit is exceeded."),
        (500, b'{"error":{"message":"Busy","type":"server_error","code":null}}', "server_error", "Busy"),
        (400, b'{"error":{"code":400,"message":"Extra inputs"}}', "400", "Extra inputs"),
        (503, b'{"error":{}}', "503", None),
        (503, b'{"error":null}', "503", None),
        (503, b'{"error":"down"}', "503", "down"),
        (503, b'{"error":{"code":["odd"],"message":{"odd":1}}}', "503", None),
        (503, b'{"statusCode":429,"message":"Rate limit is exceeded."}', "429", "Rate limit is exceeded."),
        (503, b'{"code":"ServiceUnavailable","message":"Busy."}', "ServiceUnavailable", "Busy."),
        (502, b"<html><body>502 Bad Gateway</body></html>", "502", None),
        (503, b"", "503", None),
    ],
)
@pytest.mark.parametrize("content_type", [JSON, "text/html", "", SSE])
def test_an_error_is_named(content_type: str, status: int, body: bytes, code: str, message: str | None) -> None:
    """An error of the service, API Management or a gateway is an upstream error with its code and message, else its
    status, whatever its content type: Azure's 404 has none."""
    call = read([body], content_type, status=status)
    assert (call.status, call.error_code, call.error_message) == (Status.UPSTREAM_ERROR, code, message)
    assert call.answer.choices == []


def test_an_error_in_a_200_fails_the_call() -> None:
    """A filtered prompt may be a 200 with an error object, which has the verdict on the prompt."""
    verdict = {"hate": {"filtered": True, "severity": "high"}}
    error = {"code": "content_filter", "message": "Filtered.", "innererror": {"content_filter_result": verdict}}
    call = read([json.dumps({"error": error}).encode()], JSON)
    assert (call.status, call.error_code) == (Status.UPSTREAM_ERROR, "content_filter")
    assert call.answer.content_filter == {"prompt": verdict}
    assert call.answer.usage_source == "missing"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (chat_json()[:-20], "invalid_json"),
        (b"<html>", "invalid_json"),
        (b"\xff", "invalid_json"),
        (b"[]", "unexpected_answer"),
        (b"null", "unexpected_answer"),
        (b'"text"', "unexpected_answer"),
        (b'{"message":"Welcome"}', "unexpected_answer"),
        (b" ", "unexpected_answer"),
    ],
)
def test_an_unreadable_success_fails_the_call(body: bytes, code: str) -> None:
    """A 200 of a known operation that is no answer of it is an upstream error, unless the body broke off."""
    assert read([body], JSON).error_code == code
    assert read([body], JSON, operation=Plain()).status is Status.COMPLETED
    call, reader = reading(JSON)
    reader.feed(body)
    call.fail(Status.UPSTREAM_CUT, "connection_broken", None)
    reader.close(False)
    assert (call.status, call.error_code) == (Status.UPSTREAM_CUT, "connection_broken")


def test_the_first_token_of_a_compressed_stream_is_timed() -> None:
    """A compressed event is read when its own bytes arrive, not at the end of the stream."""
    call, reader = reading(SSE, "gzip")
    compressor = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    reader.feed(compressor.compress(FILTER_FIRST + ROLE) + compressor.flush(zlib.Z_SYNC_FLUSH))
    assert call.first_token_ns is None
    reader.feed(compressor.compress(delta({"content": "Why"})) + compressor.flush(zlib.Z_SYNC_FLUSH))
    assert call.first_token_ns is not None


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip", "deflate", "gzip, br", "compress"])
@pytest.mark.parametrize("content_type", [JSON, SSE])
def test_an_undecodable_body_fails_nothing(encoding: str, content_type: str) -> None:
    """With an unsupported encoding, or bytes that do not match it, the answer is truncated and has no usage."""
    call = read([b"\x1b\x03\x00", b"not compressed", b"data: {}\n\n"], content_type, encoding)
    assert (call.answer.usage, call.answer.usage_source, call.answer.truncated) == (None, "missing", True)
    assert call.status is Status.COMPLETED
    assert call.response_bytes == 3 + 14 + 10


def test_an_event_over_the_limit_ends_only_the_reading() -> None:
    """Past the scanner's limit nothing more is read; what was read stays, and the call does not fail."""
    call, reader = reading(SSE)
    reader.feed(delta({"content": "Why"}))
    piece = b"x" * 1024 * 1024
    reader.feed(b"data: ")
    for _ in range(20):
        reader.feed(piece)
    reader.feed(DONE)
    reader.close(True)
    assert (call.answer.choices[0].content, call.answer.truncated) == ("Why", True)
    assert call.status is Status.COMPLETED
    assert call.response_bytes > 20 * len(piece)


@pytest.mark.parametrize("megabytes", [1, 40])
def test_only_the_end_of_a_large_answer_is_read(megabytes: int) -> None:
    """A JSON answer past the limit is truncated: it has no choices, but the usage after them."""
    body = json.loads(chat_json())
    usage = b', "usage": ' + json.dumps(body.pop("usage")).encode() + b"}"
    start = json.dumps(body)[:-1].encode() + b', "padding": "'
    call = read([start, *[b"x" * 1024 * 1024] * megabytes, b'"', usage], JSON)
    assert (len(call.answer.choices), call.answer.truncated) == ((1, False) if megabytes == 1 else (0, True))
    assert call.answer.usage == COUNTS
    assert call.status is Status.COMPLETED


def test_other_content_types_are_only_counted() -> None:
    """Only the size of sound is known."""
    call = read([b"any", b"bytes"], "audio/mpeg", operation=Speech())
    assert (call.response_bytes, call.status) == (8, Status.COMPLETED)
    assert call.answer.choices == []


@settings(deadline=None)
@given(body=st.binary(max_size=60), content_type=st.sampled_from([JSON, SSE]), status=st.sampled_from([200, 500]))
@pytest.mark.parametrize("encoding", [None, "gzip", "deflate", "br", "zstd"])
def test_any_bytes_can_be_read(encoding: str | None, body: bytes, content_type: str, status: int) -> None:
    """Reading never raises."""
    assert read(cut(body, 9), content_type, encoding, status=status).response_bytes == len(body)


def test_an_error_called_a_stream_keeps_its_code() -> None:
    """JSON in place of events is read as JSON."""
    call = read([b'{"error":{"code":"429","message":"busy"}}'], SSE)
    assert (call.status, call.error_code, call.error_message) == (Status.UPSTREAM_ERROR, "429", "busy")


def test_a_stream_may_begin_with_an_unknown_field() -> None:
    """WHATWG HTML §9.2.6: it is ignored."""
    assert read([b"foo: 1\n", *STREAM_WITH_USAGE], SSE).status is Status.COMPLETED


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (b'{"error":"model not found"}', "400", "model not found"),
        (b'{"error":{"code":{"a":["long"]},"type":"bad","message":"x"}}', "bad", "x"),
        (b'{"statusCode":429,"message":"y"}', "429", "y"),
    ],
)
def test_an_error_of_another_form_is_read(error: bytes, code: str, message: str) -> None:
    """Its text is the message; only a text or a number is a code."""
    call = read([error], JSON, status=400)
    assert (call.error_code, call.error_message) == (code, message)
