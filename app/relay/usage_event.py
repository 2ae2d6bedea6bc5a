"""UsageEventFilter: removes the usage event that the proxy requested from the client's stream."""

import re
from typing import Final

from app.operations.json_text import load

_FINISHED: Final = re.compile(rb'"finish_reason"\s*:\s*"')
_OVERLAP: Final = 64
_CUT_END: Final = 3
"""Bytes of an event's end that can arrive before the rest of it."""
_MAX_HELD: Final = 64 * 1024
"""A larger event is not the usage event and is not held any longer."""
_EVENT_END: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r")


class UsageEventFilter:
    """Removes the added event from a stream.

    The event comes after a finish reason, so bytes pass immediately and untouched until then. From there on each event
    is held until it is complete, and the one with usage and without choices is dropped.
    """

    def __init__(self) -> None:
        self._finished = False
        self._tail = b""
        self._held = b""
        self._sent = 0
        """How many of the held bytes were already sent."""

    def feed(self, chunk: bytes) -> bytes:
        """Take bytes from upstream; return the bytes to send now, possibly none."""
        if not self._finished:
            seen = self._tail + chunk
            found = _FINISHED.search(seen)
            self._tail = seen[-_OVERLAP:]
            if found is None:
                return chunk
            self._finished = True
            end = _EVENT_END.search(seen, found.end())
            if end is None:  # its end comes later, possibly split between chunks
                self._held = seen[found.start() :]
                self._sent = len(self._held)
                return chunk
            passed = len(chunk) - (len(seen) - end.end())
            return chunk[:passed] + self._whole_events(chunk[passed:])
        return self._whole_events(chunk)

    def close(self) -> bytes:
        """The bytes still held when the stream ends in the middle of an event."""
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
        if len(self._held) > _MAX_HELD:
            passed.append(self._held[self._sent :])
            self._held = self._held[-_CUT_END:]
            self._sent = _CUT_END
        return b"".join(passed)


def _is_usage(event: bytes) -> bool:
    """Whether this is the requested event: it has usage and no choices."""
    if b'"usage"' not in event:
        return False
    data = b"\n".join(line[5:] for line in event.splitlines() if line.startswith(b"data:"))
    try:
        parsed = load(data)
    except ValueError:
        return False
    return isinstance(parsed, dict) and bool(parsed.get("usage")) and not parsed.get("choices")
