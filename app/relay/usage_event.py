"""UsageEventFilter: removes the usage event that the proxy requested from the client's stream."""

import re
from typing import Final

from app.operations.json_text import load

_USAGE: Final = re.compile(rb'"usage"\s*:\s*\{')
_FINISHED: Final = re.compile(rb'"finish_reason"\s*:\s*"')
_OVERLAP: Final = 64
_CUT_END: Final = 3
"""Bytes of an event's end that can arrive before the rest of it."""
_MAX_HELD: Final = 64 * 1024
"""A larger event is not the usage event and is not held any longer."""
_EVENT_END: Final = re.compile(rb"\r\n\r\n|\n\r\n|\r\n\n|\n\n|\r\r(?!\n)")


class UsageEventFilter:
    """Removes the added event from a stream.

    Until a finish reason or usage arrives, bytes pass immediately and untouched. From there on each event is held until
    it is complete, and the one with usage and without a choice that says anything is dropped.
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
            usage = _USAGE.search(seen)
            if usage is not None and (found is None or usage.start() < found.start()):
                return self._from_event_at(usage.start(), chunk, seen)
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
        """The bytes still held when the stream ends without the end of an event."""
        held, self._held = self._held, b""
        return b"" if not self._sent and _is_usage(held) else held[self._sent :]

    def _from_event_at(self, place: int, chunk: bytes, seen: bytes) -> bytes:
        """Begin with the event in which `place` of `seen` lies; `seen` ends with the chunk."""
        self._finished = True
        start = max((end.end() for end in _EVENT_END.finditer(seen, 0, place)), default=0)
        sent = len(seen) - len(chunk)
        self._held, self._sent = seen[start:sent], max(0, sent - start)
        if start >= sent:
            return chunk[: start - sent] + self._whole_events(chunk[start - sent :])
        return self._whole_events(chunk)

    def _whole_events(self, more: bytes) -> bytes:
        searched = max(0, len(self._held) - _CUT_END)
        self._held += more
        passed = []
        start = 0
        for end in _EVENT_END.finditer(self._held, searched):
            event = self._held[start : end.end()]
            if self._sent or not _is_usage(event):
                passed.append(event[self._sent :])
            start, self._sent = end.end(), 0
        self._held = self._held[start:]
        if len(self._held) > _MAX_HELD:
            passed.append(self._held[self._sent :])
            self._held = self._held[-_CUT_END:]
            self._sent = _CUT_END
        return b"".join(passed)


def _is_usage(event: bytes) -> bool:
    """Whether this is the requested event: it has usage, and no choice that says anything."""
    if b'"usage"' not in event:
        return False
    data = b"\n".join(line[5:] for line in event.splitlines() if line.startswith(b"data:"))
    try:
        parsed = load(data)
    except ValueError:
        return False
    if not isinstance(parsed, dict) or not parsed.get("usage"):
        return False
    choices = parsed.get("choices") or []
    return isinstance(choices, list) and not any(map(_says_something, choices))


def _says_something(choice: object) -> bool:
    if not isinstance(choice, dict):
        return True
    said = choice.get("delta", choice.get("text"))
    values = said.values() if isinstance(said, dict) else [said]
    return bool(choice.get("finish_reason")) or any(values)
