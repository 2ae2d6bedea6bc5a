"""Repeats: tells of an event, unparsed, whether it says the same as the one before it but for its text.

In a stream of chat completions nearly every event does, and comparing bytes costs less than parsing it
(docs/decisions/0010).
"""

from typing import Final

_MEMBERS: Final = (b'"content":"', b'"text":"')
_PADDING: Final = b'"obfuscation":"'


class Repeats:
    """Remembers one event as what stands before its text and behind it.

    A quote within a JSON string has a backslash before it. So what looks like a member is one, and a text without
    backslashes ends at the next quote.
    """

    def __init__(self) -> None:
        self._before: bytes | None = None
        self._after = b""

    def text_of(self, data: bytes) -> str | None:
        """The text of an event that differs from the one remembered in its text alone; None for any other."""
        before = self._before
        if before is None or not data.startswith(before):
            return None
        start = len(before)
        end = data.find(b'"', start)
        if end < 0 or _without_padding(data[end:]) != self._after:
            return None
        return _plain(data[start:end])

    def remember(self, data: bytes, text: str | None) -> None:
        """Compare with this event from now on. `text` is what it added to the answer; None if that was not all."""
        self._before = None
        if not text:
            return
        for member in _MEMBERS:
            if data.count(member) == 1:  # or it might be another one's text
                start = data.index(member) + len(member)
                end = data.find(b'"', start)
                if _plain(data[start:end]) == text:
                    self._before, self._after = data[:start], _without_padding(data[end:])


def _plain(text: bytes) -> str | None:
    """The text of a JSON string that has no escapes and is not empty; None for any other."""
    if b"\\" in text:
        return None
    try:
        plain = text.decode()
    except UnicodeDecodeError:
        return None
    return plain if plain.isprintable() and plain else None


def _without_padding(after: bytes) -> bytes:
    """What stands behind a text, without the letters that upstream adds to hide the text's length."""
    ahead, member, rest = after.partition(_PADDING)
    padding, _, behind = rest.partition(b'"')
    return ahead + member + behind if padding.isalnum() else after
