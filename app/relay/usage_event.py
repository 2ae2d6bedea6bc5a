"""UsageEventFilter: removes from the client's stream what the proxy's request for usage added to it.

That is the event with the usage, and `"usage":null` in every other event.
"""

import re
from typing import Final

from app.answer.sse import is_event_stream
from app.operations.json_text import load
from app.relay.usage_null import LAST_NULL, NullRemover, held_from

_MAX_HELD: Final = 16 * 1024
"""A larger event is not the usage event and is not held any longer."""
_EVENT_END: Final = re.compile(rb"\r\n\r\n|\n\r\n|\r\n\n|\n\n|\r\r(?!\n)")
_CUT_END: Final = 3
"""Bytes of an event's end that can arrive before the rest of it."""
_USAGE: Final = re.compile(rb'"usage"\s*:\s*\{')
_SAYS: Final = re.compile(
    rb'"(?:content|text|refusal|reasoning\w*|arguments|data|transcript|finish_reason)"\s*:\s*"[^"]|"error"\s*:\s*\{'
)
"""What no usage event has."""


class UsageEventFilter:
    """Removes them from a stream of events; anything else passes untouched.

    An event that has arrived in part is held only while it may be the one to remove: one that says something passes
    immediately, except for an incomplete `"usage":null`. No client can use half an event, so none waits for it.
    """

    def __init__(self) -> None:
        self._is_stream: bool | None = None
        """None until the first bytes show it."""
        self._held = b""
        """The bytes of an incomplete event that were not sent."""
        self._sending: NullRemover | None = None
        """Set while the incomplete event is being sent as it arrives."""
        self._edge = b""
        """Its last bytes that were sent, which may belong to its end."""

    def feed(self, chunk: bytes) -> bytes:
        """Take bytes from upstream; return the bytes to send now, possibly none."""
        complete = self._is_stream and not self._held and self._sending is None and chunk.endswith(b"\n\n")
        if complete and not _USAGE.search(chunk):
            members = chunk.count(b'"usage"')
            if not members:
                return chunk
            passed, removed = LAST_NULL.subn(b"", chunk)
            if removed == members:  # nearly always
                return passed
        data, searched = self._held + chunk, max(0, len(self._held) - _CUT_END)
        if self._is_stream is None:
            searched = 0
            self._is_stream = is_event_stream(data)
            if self._is_stream is None:
                self._held = data
                return b""
        if not self._is_stream:
            self._held = b""
            return data
        return self._events(data, searched)

    def close(self) -> bytes:
        """The bytes still held when the stream ends without the end of an event."""
        held, self._held = self._held, b""
        return held if self._is_stream is False else self._event(held)

    def _events(self, data: bytes, searched: int) -> bytes:
        passed = []
        seen = self._edge + data
        start = len(self._edge)
        for end in _EVENT_END.finditer(seen, searched):
            passed.append(self._event(seen[start : end.end()]))
            start = end.end()
        rest = seen[start:]
        if self._sending is None and _is_other(rest):
            self._sending = NullRemover()
        if self._sending is not None:
            sent = held_from(rest)
            passed.append(self._sending.feed(rest[:sent]))
            self._edge = seen[: start + sent][-_CUT_END:]
            rest = rest[sent:]
        self._held = rest
        return b"".join(passed)

    def _event(self, end: bytes) -> bytes:
        """What passes of a complete event, of which `end` was not sent yet."""
        sending, self._sending, self._edge = self._sending, None, b""
        if sending is None and _USAGE.search(end) and _is_usage(end):
            return b""
        return (sending or NullRemover()).feed(end)


def _is_other(begun: bytes) -> bool:
    """Whether an incomplete event is not the requested one, by what has arrived of it."""
    if len(begun) > _MAX_HELD:
        return True
    line_ended = begun.endswith((b"\n", b"\r")) and b"data:" in begun
    return (line_ended or _SAYS.search(begun) is not None) and not _USAGE.search(begun)


def _is_usage(event: bytes) -> bool:
    """Whether this is the requested event: it has usage, and no choice that says anything."""
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
