"""SseScanner: bytes of an event stream in, the data of its whole events out. No I/O."""

from typing import Final

BOM: Final = b"\xef\xbb\xbf"


class EventTooLarge(ValueError):
    """An event grew past the limit; the scanner holds nothing of it any more."""


class SseScanner:
    """Finds the events of a stream that arrives in pieces of any size (WHATWG HTML §9.2.6).

    Lines end in LF, CR or CRLF, and a CRLF may be split between pieces. Comments and the fields event, id and retry
    are passed over: the events of this API say in their data what they are.
    """

    def __init__(self, max_event: int = 16 * 1024 * 1024) -> None:
        self._max_event = max_event
        self._buffer = bytearray()
        self._searched = 0
        self._started = False
        self._after_cr = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes and return the data of each event that they complete.

        Data of several `data:` lines is joined by LF. Raises EventTooLarge past `max_event` bytes without an
        event's end; the stream cannot be scanned any further then.
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
            # an event's end may be split: its first LF can be the last byte here
            self._searched = max(0, len(buffer) - 1)
            if len(buffer) > self._max_event:
                buffer.clear()
                raise EventTooLarge(f"an event of more than {self._max_event} bytes")
            return []
        blocks = bytes(buffer[:end]).split(b"\n\n")
        del buffer[: end + 2]
        self._searched = 0
        return [data for block in blocks if (data := _data(block)) is not None]

    def close(self) -> list[bytes]:
        """The data of a last event that the stream's end left without its empty line."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return [data for block in rest.split(b"\n\n") if (data := _data(block)) is not None]

    def _fold_line_ends(self, chunk: bytes) -> bytes:
        """CRLF and CR become LF; a CR at the end is one at once, and the LF that may follow it is then none."""
        if not chunk:
            return chunk
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._after_cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in chunk else chunk


def _data(block: bytes) -> bytes | None:
    """The data of one event; None when it has no data line, and so is no event."""
    if block.startswith(b"data:") and b"\n" not in block:  # nearly every event of this API
        return block[6:] if block[5:6] == b" " else block[5:]
    fields = (line.partition(b":") for line in block.split(b"\n"))  # a field without a colon has an empty value
    lines = [value.removeprefix(b" ") for name, _, value in fields if name == b"data"]
    return b"\n".join(lines) if lines else None
