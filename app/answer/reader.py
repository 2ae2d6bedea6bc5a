"""AnswerReader: turns the bytes of a response, already sent to the client, into facts of the call."""

import re
import time
from dataclasses import replace
from typing import Final

import orjson

from app.answer.decoding import FAULTS, decoder
from app.answer.repeats import Repeats
from app.answer.sse import EventTooLarge, SseScanner
from app.operations.content_filter import note_error
from app.operations.json_text import load
from app.operations.operation import Json, Operation
from app.operations.wire import as_object, as_text
from otel.call import Call, Status

DONE: Final = b"[DONE]"
SCAN_BYTES: Final = 2 * 1024
# Parsing stalls every other stream. Per MB, orjson takes 2 ms for text or base64, 6 ms for embeddings, 20 ms for log
# probabilities: at these limits 8 ms (80 ms at worst) and 1.5 ms. Of larger bodies only the end is kept: 10 MB of
# embeddings, 56 ms to parse, then take 1.6 ms in all and at most 0.1 ms at a time.
MAX_JSON: Final = 4 * 1024 * 1024
MAX_BULK: Final = 256 * 1024
END_BYTES: Final = 4 * 1024
_EVENT_FIELD: Final = re.compile(rb"(?:\xef\xbb\xbf)?(?:data|event|id|retry)?:")
"""The first line of a stream of events (WHATWG HTML §9.2.6)."""
_MEMBER: Final = re.compile(rb'"\w+"\s*:')


class AnswerReader:
    """Reads what the relay has sent. It gives up on what it cannot read and keeps what it has read so far."""

    def __init__(self, call: Call, operation: Operation, content_type: str, encoding: str | None, ok: bool) -> None:
        """`ok`: the status is no error; `encoding` is the content-encoding header."""
        self._call = call
        self._ok = ok
        self._decode = decoder(encoding)
        self._body: _Events | _Whole | None = None
        self.last_event_seen = False
        """Whether the stream's last event was sent; known once closed."""
        if ok and "text/event-stream" in content_type:
            self._body = _Events(call, operation)
            if not operation.json_body:  # the request was not read; only the response shows that it is a stream
                call.request = replace(call.request, stream=True)
        elif not ok or ("json" in content_type and operation.json_answer):  # Azure's 404 has no content type
            self._body = _Whole(call, operation, ok)
        self._undecided = ok and call.request.stream and operation.json_body and not isinstance(self._body, _Events)
        """Set until the first bytes show whether the response to a request for a stream is one, whatever its type."""
        self._operation = operation

    def feed(self, chunk: bytes) -> None:
        """Read bytes that were just sent to the client."""
        self._call.response_bytes += len(chunk)
        if self._body is None and not self._undecided:
            return
        if self._decode is None:
            self._give_up()
            return
        try:
            decoded = self._decode(chunk)
            if self._undecided and (begun := decoded.lstrip()):
                self._undecided = False
                if _EVENT_FIELD.match(begun):
                    self._body = _Events(self._call, self._operation)
            if self._body is not None:
                self._body.feed(decoded)
        except (*FAULTS, EventTooLarge):
            self._give_up()

    def close(self, whole: bool) -> None:
        """Read the rest. `whole`: upstream completed its body, which did not break off."""
        call = self._call
        if self._body is not None:
            try:
                self.last_event_seen = self._body.close(whole)
            except EventTooLarge:
                self._give_up()
        if not self._ok:
            call.fail(Status.UPSTREAM_ERROR, str(call.http_status), None)
        if call.answer.usage is not None:
            call.answer.usage_source = "reported"

    def _give_up(self) -> None:
        """Stop reading this response."""
        if isinstance(self._body, _Events):
            self._body.finish()
        self._body, self._undecided = None, False
        self._call.answer.truncated = True


class _Events:
    """A body of server-sent events.

    Until the first token each chunk is read immediately, to time that token. Later chunks are buffered and read about
    2 KB at a time: that costs less, never stalls other streams for long, and takes little memory for 1,000 streams.
    Most events differ from the previous one only in their text and are not parsed.
    """

    def __init__(self, call: Call, operation: Operation) -> None:
        self._call = call
        self._operation = operation
        self._stream = operation.stream()
        self._scanner = SseScanner()
        self._repeats = Repeats()
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._suspect = False
        """Whether the event that is arriving may be an error."""
        self._done = False

    def feed(self, piece: bytes) -> None:
        """Read the next bytes; raises EventTooLarge."""
        self._kept.append(piece)
        self._kept_bytes += len(piece)
        # an error is read as soon as its event is complete, and not with the next 2 KB
        if b"error" in piece or b"failed" in piece:
            self._suspect = True
        if self._suspect or self._call.first_token_ns is None or self._kept_bytes >= SCAN_BYTES:
            self._scan()
            self._suspect = self._suspect and self._scanner.pending

    def close(self, whole: bool) -> bool:
        """Read the rest; True if the last event arrived. Raises EventTooLarge."""
        self._scan()
        self._take(self._scanner.close())
        ended = self.finish()
        if not ended and whole:
            self._call.fail(Status.UPSTREAM_CUT, "stream_incomplete", "the stream ended before its last event")
        return ended

    def finish(self) -> bool:
        """Write the facts to the call; True if the last event arrived."""
        return self._stream.finish(self._call.answer) or self._done

    def _scan(self) -> None:
        kept = b"".join(self._kept)
        self._kept.clear()
        self._kept_bytes = 0
        self._take(self._scanner.feed(kept))

    def _take(self, events: list[bytes]) -> None:
        call, stream, operation, repeats = self._call, self._stream, self._operation, self._repeats
        for data in events:
            if data.startswith(DONE) and data.rstrip() == DONE:
                self._done = True
                continue
            call.chunks += 1
            if (text := repeats.text_of(data)) is not None:
                stream.add_text(text)
                continue
            event = _object(data)
            if event is None:
                continue
            if stream.event(event) and call.first_token_ns is None:
                call.first_token_ns = time.monotonic_ns()
            if error := operation.error_of(event):
                _note_failure(call, error, "error")
            repeats.remember(data, stream.only_text)


class _Whole:
    """A body that is one JSON text, or an error of any form."""

    def __init__(self, call: Call, operation: Operation, ok: bool) -> None:
        self._call = call
        self._operation = operation
        self._ok = ok
        self._limit = MAX_BULK if operation.bulk else MAX_JSON
        self._kept: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> None:
        """Buffer the next bytes."""
        self._kept.append(piece)
        self._size += len(piece)
        if self._size > self._limit:
            self._kept = [b"".join(self._kept)[-END_BYTES:]]

    def close(self, whole: bool) -> bool:
        """Read the buffered bytes; False, as there are no events."""
        call, text = self._call, b"".join(self._kept)
        if self._size > self._limit:
            parsed: Json | None = _last_members(text)
            call.answer.truncated = not self._operation.bulk
        else:
            parsed = _object(text)
        if not self._ok:
            parsed = parsed or {}
            _note_failure(call, parsed.get("error") or parsed, str(call.http_status))
        elif parsed is not None:
            if error := self._operation.error_of(parsed):
                _note_failure(call, error, "error")
            self._operation.read_answer(parsed, call.answer)
        elif text and self._operation.json_body:
            call.fail(Status.UPSTREAM_ERROR, "invalid_json", "the response is not a JSON object")
        return False


def _note_failure(call: Call, error: object, code: str) -> None:
    """Fail the call with upstream's error; `code` applies where that has none."""
    members = as_object(error)
    # API Management, in front of upstream or of the proxy, uses statusCode
    code = str(members.get("code") or members.get("type") or members.get("statusCode") or code)
    call.fail_as_told(code, as_text(members.get("message")))
    note_error(call.answer.content_filter, members)


def _object(data: bytes) -> Json | None:
    """The JSON object in `data`; None if it is not one."""
    try:
        parsed = load(data)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _last_members(end: bytes) -> Json:
    """The members at the end of a JSON object that are whole in `end`, its last bytes."""
    for found in _MEMBER.finditer(end):
        try:
            # all brackets match up to the end only from a member of the outermost object on
            members: dict[str, object] = orjson.loads(b"{" + end[found.start() :])
        except orjson.JSONDecodeError:
            continue
        return members
    return {}
