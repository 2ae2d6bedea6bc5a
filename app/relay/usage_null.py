"""NullRemover: removes `"usage":null` from an event, as far as it is a member of the outermost object.

Upstream adds it to every event of a stream for which usage was requested.
"""

import re
from typing import Final

_GAP: Final = rb"\s{0,16}"
_MEMBER: Final = rb'%b"usage"%b:%bnull' % (_GAP, _GAP, _GAP)
# with the comma that goes with it. Quotes within a JSON string are escaped, so this is never part of a text.
_NULL: Final = re.compile(rb"(?P<first>\{)%b(?:%b,%b)?|,%b" % (_MEMBER, _GAP, _GAP, _MEMBER))
LAST_NULL: Final = re.compile(
    rb',%b(?=(?:,%b"obfuscation"%b:%b"\w*")?%b\}(?:\r\n\r\n|\n\n|\r\r))' % (_MEMBER, _GAP, _GAP, _GAP, _GAP)
)
"""The member at the end of an event, where only the outermost object can have it."""
_STRUCTURE: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?P<end>"?)|[{}\[\]]', re.DOTALL)


def _begun(*steps: bytes) -> re.Pattern[bytes]:
    """Matches the first steps, however many but at least one, at the end of the bytes."""
    pattern = b""
    for step in reversed(steps[1:]):
        pattern = b"(?:%b%b)?" % (step, pattern)
    return re.compile(steps[0] + pattern + rb"\Z")


_BEGUN: Final = _begun(
    rb"[,{]", _GAP, *(b'"', b"u", b"s", b"a", b"g", b"e", b'"'), _GAP, b":", _GAP, *(b"n", b"u", b"l", b"l"), _GAP, b","
)
_LONGEST: Final = 128


def held_from(piece: bytes) -> int:
    """Where the member begins, if the piece ends within it; else the end of the piece."""
    begun = _BEGUN.search(piece, max(0, len(piece) - _LONGEST))
    return begun.start() if begun else len(piece)


class NullRemover:
    """Takes one event in pieces, none of which ends within the member."""

    def __init__(self) -> None:
        self._depth = 0
        self._string = b""
        """The beginning of the string in which the last piece ended, abridged."""

    def feed(self, piece: bytes) -> bytes:
        """The piece without the member."""
        kept = []
        start = 0
        for found in _NULL.finditer(piece):
            before = piece[start : found.start()]
            self._follow(before)
            first = found["first"] or b""
            passed = first if self._depth == (0 if first else 1) else found[0]
            self._follow(passed)
            kept += [before, passed]
            start = found.end()
        rest = piece[start:]
        self._follow(rest)
        return b"".join([*kept, rest]) if kept else piece

    def _follow(self, piece: bytes) -> None:
        """Count the brackets, apart from those in strings."""
        seen = self._string + piece
        self._string = b""
        for found in _STRUCTURE.finditer(seen):
            match found[0]:
                case b"{" | b"[":
                    self._depth += 1
                case b"}" | b"]":
                    self._depth -= 1
                case _ if not found["end"]:
                    self._string = b'"' + seen[found.end() :]  # and a backslash that has arrived without the next byte
