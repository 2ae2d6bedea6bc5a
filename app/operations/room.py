"""Room: how much generated text one call keeps, so that a stream without end takes no memory without end."""

from typing import Final

MAX_TEXT: Final = 8 * 1024 * 1024


class Room:
    """Shared by everything that gathers text of one call."""

    __slots__ = ("bytes", "left")

    def __init__(self, left: int = MAX_TEXT) -> None:
        """`left` is what may be kept, in characters."""
        self.left = left
        self.bytes = 0
        """Of what did not fit, in UTF-8."""

    def keep(self, text: str) -> str:
        """As much of a text as there is room for."""
        size = len(text)
        if size <= self.left:
            self.left -= size
            return text
        kept = text[: self.left]
        self.bytes += len(text[self.left :].encode("utf-8", "surrogatepass"))
        self.left = 0
        return kept
