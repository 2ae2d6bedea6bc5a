"""Data URIs: the images and sounds of a prompt give way to their digests.

They can be tens of megabytes. To parse or decode so much in one step would hold the interpreter, and with it the loop
that serves the calls; so large ones are set aside before the record is parsed, and decoded piece by piece.
"""

import base64
import hashlib
import re
import uuid
from binascii import a2b_base64
from dataclasses import dataclass
from typing import Final

from exporters.record import parse
from exporters.texts import dump, each_text

LARGE: Final = 64 * 1024
PIECE: Final = 256 * 1024  # a multiple of four, so that each piece is base64 by itself
_DATA_URI: Final = re.compile(r"data:([\w.+/-]*)(?:;[\w.=-]+)*;base64,")
_QUOTED: Final = re.compile(rb'"data:([\w.+/-]*)(?:;[\w.=-]+)*;base64,')
_OPENING: Final = b'"data:'


def without_data_uris(line: bytes) -> bytes:
    """The record with every base64 data URI of its prompt replaced by `{media_type, bytes, sha256}`.

    Raises ValueError for a line that is no JSON object.
    """
    small, aside = _set_aside(line)
    try:
        record = parse(small)
        prompt = each_text(lambda text: aside.pop(text).digest() if text in aside else _digest(text))
        record = {**record, "prompt": prompt(record.get("prompt"))}
        if aside:  # an answer may hold one too
            restored = each_text(lambda text: str(aside[text].uri, "utf-8") if text in aside else text)
            record = {name: restored(value) for name, value in record.items()}
        return dump(record)
    except RecursionError:  # nested too deep to walk
        return line


@dataclass(frozen=True, slots=True)
class _Large:
    """One that was set aside, in the line where it stands."""

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
                    raise ValueError("it ends before its end")
                sha256.update(content)
                size += len(content)
        except ValueError:
            return _told(self.media_type, len(self.encoded), hashlib.sha256(self.encoded).hexdigest())
        return _told(self.media_type, size, sha256.hexdigest())


def _set_aside(line: bytes) -> tuple[bytes, dict[str, _Large]]:
    """The line with a name in the place of each large data URI, and these by their names."""
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
    """Whether what stands between two quotation marks is a text, needs no unescaping, and is no key.

    A mark without a backslash before it begins or ends a text, and none that ends one has a letter behind it.
    """
    is_key = line[end + 1 : end + 20].lstrip().startswith(b":")
    return line[start - 1] != ord("\\") and not is_key and _find(line, b"\\", start, end) < 0


def _find(line: bytes, what: bytes, start: int, end: int | None = None) -> int:
    """`bytes.find`, by pieces."""
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
    except ValueError:  # binascii.Error, or a letter that is not ASCII
        content = encoded.encode("utf-8", "replace")
    return _told(found[1], len(content), hashlib.sha256(content).hexdigest())


def _told(media_type: str, size: int, sha256: str) -> object:
    return {"media_type": media_type or "text/plain", "bytes": size, "sha256": sha256}
