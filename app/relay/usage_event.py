"""The event of token usage that was asked for on the client's behalf, taken out of the stream again."""

import re
from typing import Final

from app.operations.json_text import load

_FINISHED: Final = re.compile(rb'"finish_reason"\s*:\s*"')
_OVERLAP: Final = 64
_CUT_END: Final = 3
"""As much of an event's end may have come when the rest has not."""
_LONGEST: Final = 64 * 1024
"""An event beyond it is not the one with usage, and not held any longer."""
_EVENT_END: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r")


class UsageEventFilter:
    """Takes the added event out of a stream.

    Until a finish reason has passed, bytes go on untouched and at once: the event comes after it. From there on each
    event is held until its end, and the one with usage and without choices is dropped.
    """

    def __init__(self) -> None:
        self._finished = False
        self._tail = b""
        self._held = b""
        self._sent = 0
        """How much of what is held has been sent on already."""

    def feed(self, chunk: bytes) -> bytes:
        """Take bytes from upstream; the bytes to send on now, perhaps none."""
        if not self._finished:
            seen = self._tail + chunk
            found = _FINISHED.search(seen)
            self._tail = seen[-_OVERLAP:]
            if found is None:
                return chunk
            self._finished = True
            end = _EVENT_END.search(seen, found.end())
            if end is None:  # its end comes later, and may be cut in two
                self._held = seen[found.start() :]
                self._sent = len(self._held)
                return chunk
            passed = len(chunk) - (len(seen) - end.end())
            return chunk[:passed] + self._whole_events(chunk[passed:])
        return self._whole_events(chunk)

    def close(self) -> bytes:
        """What is still held when the stream ends without an event's end."""
        held, self._held = self._held[self._sent :], b""
        return held

    def _whole_events(self, more: bytes) -> bytes:
        searched = max(0, len(self._held) - _CUT_END)
        self._held += more
        passed = []
        start = 0
        for end in _EVENT_END.finditer(self._held, searched):
            event = self._held[start : end.end()]
            if not _is_usage(event):
                passed.append(event[self._sent :])
            start, self._sent = end.end(), 0
        self._held = self._held[start:]
        if len(self._held) > _LONGEST:
            passed.append(self._held[self._sent :])
            self._held = self._held[-_CUT_END:]
            self._sent = _CUT_END
        return b"".join(passed)


def _is_usage(event: bytes) -> bool:
    """Whether an event holds usage and no choices: the one that was asked for."""
    if b'"usage"' not in event:
        return False
    data = b"\n".join(line[5:] for line in event.splitlines() if line.startswith(b"data:"))
    try:
        parsed = load(data)
    except ValueError:
        return False
    return isinstance(parsed, dict) and bool(parsed.get("usage")) and not parsed.get("choices")
