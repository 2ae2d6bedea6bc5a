"""AnswerReader: turns the bytes of a response, already sent to the client, into facts of the call."""

from dataclasses import replace

from app.answer.events import Events
from app.answer.failures import UNEXPECTED, is_announced, unexpected_head
from app.answer.sse import EventTooLarge, is_event_stream
from app.answer.whole import Whole
from app.operations.decoding import FAULTS, decoder
from app.operations.operation import Operation
from app.operations.room import MAX_TEXT
from otel.call import Call, Request, Status


class AnswerReader:
    """Reads what the relay has sent. It gives up on what it cannot read and keeps what it has read so far."""

    def __init__(
        self,
        call: Call,
        operation: Operation,
        content_type: str,
        encoding: str | None,
        ok: bool,
        max_text: int = MAX_TEXT,
    ) -> None:
        """`ok`: the status is no error; `encoding` is the content-encoding header; `max_text` limits generated text."""
        self._max_text = max_text
        self._call = call
        self._ok = ok
        self._decode = decoder(encoding)
        self._body: Events | Whole | None = None
        self.last_event_seen = False
        """Whether the stream's last event was sent; known once closed."""
        events = ok and "text/event-stream" in content_type
        self._unexpected = unexpected_head(operation, call.http_status, content_type) if ok else None
        call.answer.recognized = ok and self._unexpected is None and is_announced(operation, content_type)
        if self._unexpected is not None:
            pass  # not an answer of the operation
        elif events:
            self._body = Events(call, operation, max_text)
            # a request that was not read as JSON: the response shows that it asked for a stream
            if not operation.json_body or call.request == Request():
                call.request = replace(call.request, stream=True)
        elif not ok or (operation.json_answer and ("json" in content_type or not operation.other_answers)):
            self._body = Whole(call, operation, ok, is_json="json" in content_type)  # Azure's 404 has no content type
        self._undecided = events or (ok and call.request.stream and operation.json_body and self._unexpected is None)
        """Set until the first bytes show whether the response to a request for a stream is one, whatever its type."""
        self._begun = b""
        """What has arrived until then."""
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
            if self._undecided:
                self._begun += decoded
                if is_event_stream(self._begun) is None:
                    return
                decoded = self._decide()
            if self._body is not None:
                self._body.feed(decoded)
        except (*FAULTS, EventTooLarge):
            self._give_up()

    def _decide(self) -> bytes:
        """Tell by the first bytes whether the response is a stream of events; return them, to be read."""
        begun, self._begun, self._undecided = self._begun, b"", False
        if isinstance(self._body, Events):
            first = begun.lstrip()[:1]
            if first == b"<" and self._operation.answer_members:
                self._unexpected, self._body = "the response is not a stream of events", None
            elif first in (b"{", b"["):  # an error, or a whole answer, of the wrong content type
                self._body = Whole(self._call, self._operation, self._ok, is_json=False)
        elif is_event_stream(begun):
            self._body = Events(self._call, self._operation, self._max_text)
            self._call.answer.recognized = True
        return begun

    def close(self, whole: bool) -> None:
        """Read the rest. `whole`: upstream completed its body, which did not break off."""
        call = self._call
        try:
            if self._undecided:
                begun = self._decide()
                if self._body is not None:
                    self._body.feed(begun)
            if self._body is not None:
                self.last_event_seen = self._body.close(whole)
        except EventTooLarge:
            self._give_up()
        if call.response_bytes == 0 and whole:
            call.answer.recognized = False
            if self._ok and self._operation.other_answers:
                self._unexpected = self._unexpected or "the response is empty"
        if self._unexpected is not None:
            call.answer.recognized = False
            call.fail_as_told(UNEXPECTED, self._unexpected)
        if not self._ok:
            call.fail(Status.UPSTREAM_ERROR, str(call.http_status), None)
        answer, operation = call.answer, self._operation
        if whole and self._ok and answer.recognized and answer.usage is None:
            operation.note_units(call.request, answer)
        if answer.usage is not None or (answer.units and operation.billed_by_units):
            answer.usage_source = "reported"
        elif call.answer.pending:
            call.answer.usage_source = "pending"

    def _give_up(self) -> None:
        """Stop reading this response."""
        if isinstance(self._body, Events):
            self._body.finish()
        self._body, self._undecided = None, False
        self._call.answer.truncated = True
