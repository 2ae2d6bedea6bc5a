"""Data URIs: replaces the images and audio of a request by their digests.

They can be tens of megabytes. Parsing or decoding that much in one step would block the interpreter, and with it the
loop that serves the calls; so large ones are cut out before the record is parsed, and decoded piece by piece.
"""

import base64
import hashlib
import re
import uuid
from binascii import a2b_base64
from dataclasses import dataclass
from typing import Final

from exporters.record import parse
from exporters.strings import dump, map_strings

LARGE: Final = 64 * 1024
PIECE: Final = 256 * 1024  # a multiple of four, so that each piece is valid base64
_DATA_URI: Final = re.compile(r"data:([\w.+/-]*)(?:;[\w.=-]+)*;base64,")
_QUOTED: Final = re.compile(rb'"data:([\w.+/-]*)(?:;[\w.=-]+)*;base64,')
_REQUEST: Final = frozenset({"prompt", "request"})
_OPENING: Final = b'"data:'


def without_data_uris(line: bytes) -> bytes:
    """The record with every base64 data URI of its prompt and request replaced by `{media_type, bytes, sha256}`.

    Raises ValueError for a line that is not a JSON object.
    """
    small, aside = _cut_out_large(line)
    try:
        record = parse(small)
        digested = map_strings(lambda text: aside.pop(text).digest() if text in aside else _digest(text))
        record = {name: digested(value) if name in _REQUEST else value for name, value in record.items()}
        if aside:  # a response may hold one too
            restored = map_strings(lambda text: str(aside[text].uri, "utf-8") if text in aside else text)
            record = {name: restored(value) for name, value in record.items()}
        return dump(record)
    except RecursionError:  # too many values, or nested too deeply
        return line


@dataclass(frozen=True, slots=True)
class _Large:
    """A large data URI, as views of the line that holds it."""

    uri: memoryview
    media_type: str
    encoded: memoryview

    def digest(self) -> object:
        sha256, size = hashlib.sha256(), 0
        try:
            for at in range(0, len(self.encoded), PIECE):
                piece = self.encoded[at : at + PIECE]
                content = a2b_base64(piece, strict_mode=True)
                if len(content) < PIECE // 4 * 3 and at + PIECE < len(self.encoded):
                    raise ValueError("padding before the end")
                sha256.update(content)
                size += len(content)
        except ValueError:
            return _summary(self.media_type, len(self.encoded), hashlib.sha256(self.encoded).hexdigest())
        return _summary(self.media_type, size, sha256.hexdigest())


def _cut_out_large(line: bytes) -> tuple[bytes, dict[str, _Large]]:
    """The line with a placeholder for each large data URI, and the data URIs by placeholder."""
    view, mark = memoryview(line), uuid.uuid4().hex
    kept: list[bytes | memoryview] = []
    aside: dict[str, _Large] = {}
    done, at = 0, _find(line, _OPENING, 0)
    while at >= 0:
        head, end = _QUOTED.match(line, at), _find(line, b'"', at + len(_OPENING))
        if head and end - head.end() >= LARGE and _is_plain_value(line, at, end):
            name = f"{mark}{len(aside)}"
            aside[name] = _Large(view[at + 1 : end], head[1].decode(), view[head.end() : end])
            kept += [view[done : at + 1], name.encode()]
            done = end
        at = _find(line, _OPENING, max(at + 1, end))
    return b"".join([*kept, view[done:]]) if aside else line, aside


def _is_plain_value(line: bytes, start: int, end: int) -> bool:
    """Whether the bytes between two quotation marks are a JSON string value without escapes, and not a key.

    A mark without a backslash before it opens or closes a string, and no letter follows one that closes a string.
    """
    is_key = line[end + 1 : end + 20].lstrip().startswith(b":")
    return line[start - 1] != ord("\\") and not is_key and _find(line, b"\\", start, end) < 0


def _find(line: bytes, what: bytes, start: int, end: int | None = None) -> int:
    """`bytes.find`, piece by piece."""
    end = len(line) if end is None else end
    for at in range(start, end, PIECE):
        found = line.find(what, at, min(end, at + PIECE + len(what) - 1))
        if found >= 0:
            return found
    return -1


def _digest(text: str) -> object:
    found = _DATA_URI.match(text)
    if found is None:
        return text
    encoded = text[found.end() :]
    try:
        content = base64.b64decode(encoded, validate=True)
    except ValueError:  # binascii.Error, or a non-ASCII character
        content = encoded.encode("utf-8", "replace")
    return _summary(found[1], len(content), hashlib.sha256(content).hexdigest())


def _summary(media_type: str, size: int, sha256: str) -> object:
    return {"media_type": media_type or "text/plain", "bytes": size, "sha256": sha256}
