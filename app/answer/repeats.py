"""Repeats: tells, without parsing, whether an event differs from the previous one only in its text.

Nearly every event in a stream of chat completions does, and comparing bytes is cheaper than parsing
(docs/decisions/0010).
"""

from typing import Final

_MEMBERS: Final = (b'"content":"', b'"text":"')
_PADDING: Final = b'"obfuscation":"'


class Repeats:
    """Remembers the bytes of one event before and after its text.

    A quote within a JSON string is escaped by a backslash. So what looks like a member is one, and a text without
    backslashes ends at the next quote.
    """

    def __init__(self) -> None:
        self._before: bytes | None = None
        self._after = b""

    def text_of(self, data: bytes) -> str | None:
        """The text of an event that differs from the remembered one only in its text; None for any other."""
        before = self._before
        if before is None or not data.startswith(before):
            return None
        start = len(before)
        end = data.find(b'"', start)
        if end < 0 or _without_padding(data[end:]) != self._after:
            return None
        return _plain(data[start:end])

    def remember(self, data: bytes, text: str | None) -> None:
        """Compare with this event from now on. `text` is all that it added to the answer; None if it added more."""
        self._before = None
        if not text:
            return
        for member in _MEMBERS:
            if data.count(member) == 1:  # otherwise it may be another member's
                start = data.index(member) + len(member)
                end = data.find(b'"', start)
                if _plain(data[start:end]) == text:
                    self._before, self._after = data[:start], _without_padding(data[end:])


def _plain(text: bytes) -> str | None:
    """The text of a JSON string without escapes; None if it has any or is empty."""
    if b"\\" in text:
        return None
    try:
        plain = text.decode()
    except UnicodeDecodeError:
        return None
    return plain if plain.isprintable() and plain else None


def _without_padding(after: bytes) -> bytes:
    """The bytes after a text, without the padding by which upstream hides the text's length."""
    head, member, rest = after.partition(_PADDING)
    padding, _, tail = rest.partition(b'"')
    return head + member + tail if padding.isalnum() else after
