"""SseScanner: bytes of an event stream in, the data of complete events out. No I/O."""

import re
from typing import Final

BOM: Final = b"\xef\xbb\xbf"
_FIELD: Final = re.compile(rb"(?:\xef\xbb\xbf)?(?:data|event|id|retry)?:")
"""The first line of a stream of events (WHATWG HTML §9.2.6), or a comment."""
_LONGEST_FIELD: Final = len(b"\xef\xbb\xbfevent:")
_MAX_BLANK: Final = 1024


class EventTooLarge(ValueError):
    """An event exceeds the limit; the scanner has discarded it."""


class SseScanner:
    """Finds the events of a stream that arrives in chunks of any size (WHATWG HTML §9.2.6).

    Lines end in LF, CR or CRLF, and a CRLF may be split between chunks. Comments and the fields event, id and retry are
    ignored: this API's events name their type in their data.
    """

    def __init__(self, max_event: int = 16 * 1024 * 1024) -> None:
        self._max_event = max_event
        self._buffer = bytearray()
        self._searched = 0
        self._started = False
        self._after_cr = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes and return the data of each event that they complete.

        Data of several `data:` lines is joined by LF. Raises EventTooLarge past `max_event` bytes without the end of an
        event; after that, the stream cannot be scanned any further.
        """
        buffer = self._buffer
        buffer += self._fold_line_ends(chunk)
        if not self._started:
            if len(buffer) < len(BOM) and BOM.startswith(buffer):
                return []
            self._started = True
            if buffer.startswith(BOM):
                del buffer[: len(BOM)]
        end = buffer.rfind(b"\n\n", self._searched)
        if end < 0:
            # the end may be split: its first LF can be the last byte so far
            self._searched = max(0, len(buffer) - 1)
            if len(buffer) > self._max_event:
                buffer.clear()
                raise EventTooLarge(f"an event of more than {self._max_event} bytes")
            return []
        blocks = bytes(buffer[:end]).split(b"\n\n")
        del buffer[: end + 2]
        self._searched = 0
        return [data for block in blocks if (data := _data(block)) is not None]

    @property
    def pending(self) -> bool:
        """Whether the last event is incomplete."""
        return bool(self._buffer)

    def close(self) -> list[bytes]:
        """The data of a last event without its empty line."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return [data for block in rest.split(b"\n\n") if (data := _data(block)) is not None]

    def _fold_line_ends(self, chunk: bytes) -> bytes:
        """Turn CRLF and CR into LF. A CR at the end counts immediately; an LF that follows it is dropped."""
        if not chunk:
            return chunk
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._after_cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in chunk else chunk


def _data(block: bytes) -> bytes | None:
    """The data of one event; None without a data line, which makes it no event."""
    if block.startswith(b"data:") and b"\n" not in block:  # nearly every event of this API
        return block[6:] if block[5:6] == b" " else block[5:]
    fields = (line.partition(b":") for line in block.split(b"\n"))  # a field without a colon has an empty value
    lines = [value.removeprefix(b" ") for name, _, value in fields if name == b"data"]
    return b"\n".join(lines) if lines else None


def is_event_stream(begun: bytes) -> bool | None:
    """Whether a body that begins so is a stream of events; None as long as only more bytes can tell."""
    line = begun.lstrip()
    if _FIELD.match(line):
        return True
    return None if len(line) < _LONGEST_FIELD and len(begun) < _MAX_BLANK else False
