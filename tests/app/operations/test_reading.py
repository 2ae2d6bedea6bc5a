"""How an answer is read, by what the operation makes of it: which bodies are kept, and what is lost says so."""

import json

import pytest

from app.answer.reader import MAX_JSON
from otel.call import Call, Status
from tests.app.operations.conftest import Through
from tests.app.operations.shapes import JSON, SSE, event, read, response
from tests.kit.wire import DONE, SAFE, TEXT, USAGE, chat_body, chat_json, delta

CHAT = "chat/completions"
V1 = "/openai/v1/chat/completions"


def large(size: int) -> bytes:
    """A chat completion with log probabilities that make it `size` bytes large, and its usage behind them."""
    body = json.loads(chat_json())
    body["choices"][0]["logprobs"] = {"content": [{"token": "x", "logprob": -0.5, "top_logprobs": []}] * (size // 50)}
    return json.dumps(body).encode()


def test_an_answer_too_large_to_parse_says_so(through: Through) -> None:
    """Past the limit an answer passes untouched; the record has usage, identity and verdict, and is truncated."""
    body = large(MAX_JSON)
    assert len(body) > MAX_JSON
    record = through(V1, chat_body(model="d"), body)
    assert (record["truncated"], record["content"], record["status"]) == (True, "", "completed")
    assert (record["usage"], record["usage_source"]) == (USAGE, "reported")
    assert (record["model"], record["content_filter"]) == ("gpt-4.1-mini-2025-04-14", {"prompt": SAFE})
    assert record["response_bytes"] == len(body)


def test_an_answer_that_can_be_parsed_is_whole(through: Through) -> None:
    """Below the limit nothing is lost, and the record does not say that anything was."""
    record = through(V1, chat_body(model="d"), large(MAX_JSON // 4))
    assert "truncated" not in record
    assert record["content"] == TEXT


@pytest.mark.parametrize("content_type", [JSON, SSE])
def test_an_unknown_encoding_says_so(content_type: str) -> None:
    """What cannot be decoded is not read, and the facts say that something is missing."""
    call = read(CHAT, [b"\x1b\x03", b"\x00"], content_type, encoding="compress")
    assert (call.answer.truncated, call.status) == (True, Status.COMPLETED)
    assert call.answer.choices == []


def test_what_was_read_before_reading_failed_stays() -> None:
    """An event too large to be held ends the reading; what came before stays, and something is said to be missing."""
    call = read(CHAT, [delta({"content": "Why"}), b"data: ", *[b"x" * 1024 * 1024] * 17, b"\n\n", DONE], SSE)
    assert (call.answer.choices[0].content, call.answer.truncated) == ("Why", True)
    assert call.status is Status.COMPLETED


@pytest.mark.parametrize("suffix", ["files", "batches", "models", "audio/speech"])
def test_what_says_nothing_is_not_read(suffix: str) -> None:
    """JSON of an operation that is not known, or only makes sound, is counted and not looked at."""
    call = read(suffix, [b'{"id":"x","error":{"code":"y"},"usage":{"prompt_tokens":1}}'])
    assert (call.status, call.answer.usage, call.answer.truncated) == (Status.COMPLETED, None, False)


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b'{"statusCode":429,"message":"Rate limit is exceeded."}', "429", "Rate limit is exceeded."),
        (b'{"code":"ServiceUnavailable","message":"Busy."}', "ServiceUnavailable", "Busy."),
        (b'{"error":{"message":"No.","type":"server_error","code":null}}', "server_error", "No."),
        (b"Our services aren't available right now", "503", None),
        (b"", "503", None),
    ],
)
@pytest.mark.parametrize("suffix", ["responses", "files", "audio/transcriptions"])
def test_a_gateway_s_error_is_named(suffix: str, body: bytes, code: str, message: str | None) -> None:
    """An error may come from API Management or another front end, in its own form, for any operation."""
    call = read(suffix, [body], "text/html", 503)
    assert (call.status, call.error_code, call.error_message) == (Status.UPSTREAM_ERROR, code, message)


@pytest.mark.parametrize("status", [400, 503])
def test_an_error_that_calls_itself_a_stream_is_read(status: int) -> None:
    """An error with the type of a stream is an error body, and no stream was had."""
    call = read("audio/transcriptions", [b'{"error":{"code":"x","message":"y"}}'], SSE, status)
    assert (call.error_code, call.error_message, call.request.stream) == ("x", "y", False)


@pytest.mark.parametrize(
    ("suffix", "stream"),
    [("audio/transcriptions", True), ("images/edits", True), ("threads/t/runs", True), (CHAT, False)],
)
def test_a_stream_that_was_asked_for_unseen(suffix: str, stream: bool) -> None:
    """Where the request went by unread, an answer in events tells of a stream; else the request alone does."""
    assert read(suffix, [DONE], SSE).request.stream is stream


def test_the_usage_is_reported_only_where_upstream_gave_it() -> None:
    """usage_source is `reported` with a usage, and `missing` without."""
    assert read("responses", [json.dumps(response()).encode()]).answer.usage_source == "reported"
    assert read("responses", [json.dumps(response(usage=None)).encode()]).answer.usage_source == "missing"


def test_nothing_is_read_twice() -> None:
    """An answer that is closed without any bytes says nothing, and an event in two pieces is one."""
    empty: Call = read(CHAT, [])
    assert (empty.status, empty.answer.choices) == (Status.COMPLETED, [])
    whole = event({"choices": [{"index": 0, "delta": {"content": "x"}}]})
    call = read(CHAT, [whole[:20], whole[20:], DONE], SSE)
    assert (call.chunks, call.answer.choices[0].content) == (1, "x")
