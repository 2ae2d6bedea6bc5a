"""AnswerReader: the bytes of an answer, already on their way to the client, become facts of the call."""

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
# Parsing stalls every other stream. orjson takes, for a MB, 2 ms of text or base64, 6 ms of embeddings, 20 ms of log
# probabilities: at these limits 8 ms (80 at the very worst) and 1.5 ms. Of what is larger only the end is kept: 10 MB
# of embeddings, 56 ms to parse, take 1.6 ms in all and never more than 0.1 ms at a time.
MAX_JSON: Final = 4 * 1024 * 1024
MAX_BULK: Final = 256 * 1024
END_BYTES: Final = 4 * 1024
_MEMBER: Final = re.compile(rb'"\w+"\s*:')


class AnswerReader:
    """Reads what `response` has sent; what cannot be understood is given up, and what is known by then stays."""

    def __init__(self, call: Call, operation: Operation, content_type: str, encoding: str | None, ok: bool) -> None:
        """`ok` tells an answer from an error; `encoding` is the content-encoding header."""
        self._call = call
        self._ok = ok
        self._decode = decoder(encoding)
        self._body: _Events | _Whole | None = None
        self.last_event_seen = False
        """Whether a stream's own last event was among what was sent; known once closed."""
        if ok and "text/event-stream" in content_type:
            self._body = _Events(call, operation)
            if not operation.json_body:  # the request went by unread, and that it asked for a stream shows only here
                call.request = replace(call.request, stream=True)
        elif not ok or ("json" in content_type and operation.json_answer):  # Azure's 404 has no content type
            self._body = _Whole(call, operation, ok)

    def feed(self, chunk: bytes) -> None:
        """Take bytes that were just sent to the client."""
        self._call.response_bytes += len(chunk)
        if self._body is None:
            return
        if self._decode is None:
            self._give_up()
            return
        try:
            self._body.feed(self._decode(chunk))
        except (*FAULTS, EventTooLarge):
            self._give_up()

    def close(self, whole: bool) -> None:
        """Read what is left. `whole` says that upstream ended its body rather than that it broke off."""
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
        """Read no more of this answer."""
        if isinstance(self._body, _Events):
            self._body.finish()
        self._body = None
        self._call.answer.truncated = True


class _Events:
    """A body of server-sent events.

    Until the first token each chunk is looked at as it comes, for the token's time; from then on chunks are only
    kept, and read some 2 KB at a time: that costs less, never stalls the other streams for long, and 1,000 streams
    hold little. Most events differ from the one before only in their text, and are not even parsed.
    """

    def __init__(self, call: Call, operation: Operation) -> None:
        self._call = call
        self._operation = operation
        self._stream = operation.stream()
        self._scanner = SseScanner()
        self._repeats = Repeats()
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._done = False

    def feed(self, piece: bytes) -> None:
        """Take the next bytes; raises EventTooLarge."""
        self._kept.append(piece)
        self._kept_bytes += len(piece)
        # an error is noted at once, so that it counts and not the breaking of the connection behind it
        if self._call.first_token_ns is None or self._kept_bytes >= SCAN_BYTES or b'"error"' in piece:
            self._scan()

    def close(self, whole: bool) -> bool:
        """Read what is left; True if the last event was there. Raises EventTooLarge."""
        self._scan()
        self._take(self._scanner.close())
        ended = self.finish()
        if not ended and whole:
            self._call.fail(Status.UPSTREAM_CUT, "stream_incomplete", "the stream ended before its last event")
        return ended

    def finish(self) -> bool:
        """Write what the events said; True if the last of them was there."""
        return self._stream.finish(self._call.answer) or self._done

    def _scan(self) -> None:
        kept = b"".join(self._kept)
        self._kept.clear()
        self._kept_bytes = 0
        self._take(self._scanner.feed(kept))

    def _take(self, events: list[bytes]) -> None:
        call, stream, operation, repeats = self._call, self._stream, self._operation, self._repeats
        for data in events:
            if data == DONE:
                self._done = True
                continue
            call.chunks += 1
            if (text := repeats.text_of(data)) is not None:
                stream.more(text)
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
    """A body that is one JSON text, or an error of whatever form."""

    def __init__(self, call: Call, operation: Operation, ok: bool) -> None:
        self._call = call
        self._operation = operation
        self._ok = ok
        self._limit = MAX_BULK if operation.bulk else MAX_JSON
        self._kept: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> None:
        """Take the next bytes."""
        self._kept.append(piece)
        self._size += len(piece)
        if self._size > self._limit:
            self._kept = [b"".join(self._kept)[-END_BYTES:]]

    def close(self, whole: bool) -> bool:
        """Read what was kept; False, since it has no events."""
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
            call.fail(Status.UPSTREAM_ERROR, "invalid_json", "the answer is no JSON object")
        return False


def _note_failure(call: Call, error: object, code: str) -> None:
    """Fail the call as upstream's error says; with `code` where it gives none."""
    told = as_object(error)
    # API Management in front of upstream, or of us, says statusCode
    code = str(told.get("code") or told.get("type") or told.get("statusCode") or code)
    call.fail(Status.UPSTREAM_ERROR, code, as_text(told.get("message")))
    note_error(call.answer.content_filter, told)


def _object(data: bytes) -> Json | None:
    """The JSON object in `data`, None where there is none."""
    try:
        parsed = load(data)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _last_members(end: bytes) -> Json:
    """The last members of the JSON object that a text ends: as many as are whole in `end`."""
    for found in _MEMBER.finditer(end):
        try:
            # only from a member of the outermost object on do all brackets match to the end
            members: dict[str, object] = orjson.loads(b"{" + end[found.start() :])
        except orjson.JSONDecodeError:
            continue
        return members
    return {}
