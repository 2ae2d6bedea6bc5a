"""Events: reads a response that is a stream of server-sent events."""

import time
from collections.abc import Iterator
from typing import Final

from app.answer.failures import note_failure
from app.answer.repeats import Repeats
from app.answer.sse import SseScanner
from app.operations.json_text import load_object
from app.operations.operation import Operation
from app.operations.room import Room
from otel.call import Call, Status

DONE: Final = b"[DONE]"
SCAN_BYTES: Final = 2 * 1024


class Events:
    """A body of server-sent events.

    Until the first token each chunk is read immediately, to time that token. Later chunks are buffered and read about
    2 KB at a time: that costs less, never stalls other streams for long, and takes little memory for 1,000 streams.
    Most events differ from the previous one only in their text and are not parsed.
    """

    def __init__(self, call: Call, operation: Operation, max_text: int) -> None:
        """`max_text` is what is kept of the generated text, in characters."""
        self._call = call
        self._operation = operation
        self._stream = operation.stream()
        self._stream.room = Room(max_text)
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
        ended = self._stream.finish(self._call.answer) or self._done
        if cut := self._stream.room.bytes:
            self._call.answer.truncated = True
            self._call.content_bytes = cut + sum(len(text.encode("utf-8", "replace")) for text in _texts(self._call))
        return ended

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
            event = load_object(data)
            if event is None:
                continue
            if stream.event(event) and call.first_token_ns is None:
                call.first_token_ns = time.monotonic_ns()
            if error := operation.error_of(event):
                note_failure(call, error, "error")
            repeats.remember(data, stream.only_text)


def _texts(call: Call) -> Iterator[str]:
    """What is kept of the generated text."""
    for choice in call.answer.choices:
        yield from (choice.content, choice.refusal, choice.reasoning)
        yield from (tool.arguments for tool in choice.tool_calls)
