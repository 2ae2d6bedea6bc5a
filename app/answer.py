"""AnswerReader: the bytes of an answer, already on their way to the client, become facts of the call."""

import time
import zlib
from collections.abc import Callable
from typing import Final

from app.operations.json_text import load
from app.operations.operation import Json, Operation, StreamReader
from app.operations.wire import as_object, as_text
from app.sse import EventTooLarge, SseScanner
from otel.call import Call, Status

DONE: Final = b"[DONE]"
SCAN_BYTES: Final = 32 * 1024
MAX_JSON: Final = 32 * 1024 * 1024


class AnswerReader:
    """Reads what `response` has sent.

    Until the first token each chunk is looked at as it comes, for the token's time; from then on chunks are only
    kept, and read some 32 KB at a time, which costs a tenth and never stalls the other streams for long.
    """

    def __init__(self, call: Call, operation: Operation, content_type: str, encoding: str | None, ok: bool) -> None:
        """`ok` tells an answer from an error; `encoding` is the content-encoding header."""
        self._call = call
        self._operation = operation
        self._decode = _decoder(encoding)
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._scanner: SseScanner | None = None
        self._stream: StreamReader | None = None
        self._json = "json" in content_type
        self._ok = ok
        self._done = False
        if "text/event-stream" in content_type:
            self._scanner, self._stream = SseScanner(), operation.stream()

    def feed(self, chunk: bytes) -> None:
        """Take bytes that were just sent to the client."""
        self._call.response_bytes += len(chunk)
        if self._decode is None or not (self._scanner or self._json):
            return
        self._kept.append(chunk)
        self._kept_bytes += len(chunk)
        if self._scanner is None:
            if self._kept_bytes > MAX_JSON:
                self._give_up()
        elif self._call.first_token_ns is None or self._kept_bytes >= SCAN_BYTES:
            self._scan()

    def close(self, whole: bool) -> None:
        """Read what is left. `whole` says that upstream ended its body rather than that it broke off."""
        if self._stream is not None and self._scanner is not None:
            self._scan()
            self._events(self._scanner.close())
            ended = self._stream.finish(self._call.answer) or self._done
            if whole and not ended and self._decode is not None:
                self._call.fail(Status.UPSTREAM_CUT, "stream_incomplete", "the stream ended before its last event")
        elif self._decode is not None:
            self._read_json(self._take())
        if not self._ok:
            status = str(self._call.http_status)
            self._call.fail(Status.UPSTREAM_ERROR, status, None)
        if self._call.answer.usage is not None:
            self._call.answer.usage_source = "reported"

    def _take(self) -> bytes:
        """The decoded bytes kept so far."""
        decode = self._decode
        joined = b"".join(self._kept)
        self._kept.clear()
        self._kept_bytes = 0
        if decode is None:
            return b""
        try:
            return decode(joined)
        except zlib.error:
            self._give_up()
            return b""

    def _give_up(self) -> None:
        """Read no more of this answer: it cannot be understood, and what is known stays."""
        self._decode = None
        self._kept.clear()

    def _scan(self) -> None:
        if self._scanner is None or not self._kept:
            return
        try:
            events = self._scanner.feed(self._take())
        except EventTooLarge:
            self._give_up()
            return
        self._events(events)

    def _events(self, events: list[bytes]) -> None:
        call, stream = self._call, self._stream
        if stream is None:
            return
        for data in events:
            if data == DONE:
                self._done = True
                continue
            call.chunks += 1
            event = _object(data)
            if event is None:
                continue
            if stream.event(event) and call.first_token_ns is None:
                call.first_token_ns = time.monotonic_ns()
            if event.get("error") is not None:
                self._error(as_object(event["error"]))

    def _read_json(self, body: bytes) -> None:
        parsed = _object(body)
        if parsed is None:
            if self._ok and body and self._operation.json_body and self._json:
                self._call.fail(Status.UPSTREAM_ERROR, "invalid_json", "the answer is no JSON object")
            return
        if parsed.get("error"):
            self._error(as_object(parsed["error"]))
        if self._ok:
            self._operation.read_answer(parsed, self._call.answer)

    def _error(self, error: Json) -> None:
        call = self._call
        code = error.get("code") or error.get("type") or call.http_status
        call.fail(Status.UPSTREAM_ERROR, str(code), as_text(error.get("message")))
        inner = as_object(error.get("innererror"))
        if verdict := as_object(inner.get("content_filter_result")):
            call.answer.content_filter["prompt"] = verdict


def _object(data: bytes) -> Json | None:
    """The JSON object in `data`, None where there is none."""
    try:
        parsed = load(data)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _decoder(encoding: str | None) -> Callable[[bytes], bytes] | None:
    """Undoes a content-encoding piece by piece; None for one that cannot be undone here."""
    match (encoding or "identity").strip().lower():
        case "identity":
            return bytes
        case "gzip" | "x-gzip":
            return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress
        case "deflate":
            return zlib.decompressobj().decompress
        case _:
            return None
