"""Density: whether JSON holds so many values that parsing it would take a multiple of its memory, and stall calls."""

from typing import Final

MAX_VALUES: Final = 500_000
"""As objects they take some 50 MB, and some 20 ms to make."""
PIECE: Final = 256 * 1024


def is_dense(text: bytes | bytearray | str, most: int = MAX_VALUES) -> bool:
    """Whether JSON holds more than some `most` values, by its commas and brackets."""
    marks = (",", "[", "{") if isinstance(text, str) else (b",", b"[", b"{")
    found = 0
    for at in range(0, len(text), PIECE):  # in pieces, so that a thread that counts lets others run
        piece = text[at : at + PIECE]
        found += sum(map(piece.count, marks))  # type: ignore[arg-type]
        if found > most:
            return True
    return False
