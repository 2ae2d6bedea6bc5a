"""Records larger than an event may be: data URIs become their digests, then the longest texts are shortened."""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from typing import Final

import orjson

from exporters.record import Json, parse

_DATA_URI: Final = re.compile(r"data:([\w.+/-]*)(?:;[\w.=-]+)*;base64,")
_MARK: Final = "…"
_KEPT_MIN: Final = 64
_TEXTS: Final = frozenset(
    {"prompt", "content", "tool_calls", "choices", "reasoning", "refusal", "error", "content_filter", "caller"}
)


def without_data_uris(line: bytes) -> bytes:
    """The record with every base64 data URI of its prompt replaced by `{media_type, bytes, sha256}`."""
    record = parse(line)
    try:
        return orjson.dumps({**record, "prompt": _walker(_digest)(record.get("prompt"))})
    except RecursionError:
        return line


def shortened(line: bytes, limit: int, **more: str | int) -> bytes:
    """The record with its longest texts cut until it is at most `limit` bytes long, if that can be had.

    It says so by `truncated`; `more` are fields to add. It stays a valid record: only texts that people or models
    wrote are cut, and where that is not enough, left out.
    """
    record = {**parse(line), "truncated": True, **more}
    try:
        longest = max(_lengths(record), default=0)
        while len(short := orjson.dumps(record)) > limit and longest > _KEPT_MIN:
            # what is too much is spread over texts of any number: halving the allowance finds it in a few rounds
            longest //= 2
            record = _cut_fields(record, longest)
    except RecursionError:  # a prompt nested as deep as JSON may be
        short = b""
    if not short or len(short) > limit:
        kept = {name: value for name, value in record.items() if name not in _TEXTS}
        short = orjson.dumps({**kept, "prompt": None, "content": ""})
    return short


def _cut_fields(record: Json, longest: int) -> Json:
    cut = _walker(lambda text: text if len(text) <= longest else text[:longest] + _MARK)
    return {name: cut(value) if name in _TEXTS else value for name, value in record.items()}


def _lengths(record: Json) -> list[int]:
    found: list[int] = []

    def measure(text: str) -> str:
        found.append(len(text))
        return text

    walk = _walker(measure)
    for name in _TEXTS:
        walk(record.get(name))
    return found


def _walker(leaf: Callable[[str], object]) -> Callable[[object], object]:
    """Applies `leaf` to every text in a JSON value, keys aside."""

    def walk(value: object) -> object:
        match value:
            case str():
                return leaf(value)
            case list():
                return [walk(entry) for entry in value]
            case dict():
                return {name: walk(entry) for name, entry in value.items()}
        return value

    return walk


def _digest(text: str) -> object:
    found = _DATA_URI.match(text)
    if found is None:
        return text
    encoded = text[found.end() :]
    try:
        content = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        content = encoded.encode()
    digest = hashlib.sha256(content).hexdigest()
    return {"media_type": found[1] or "text/plain", "bytes": len(content), "sha256": digest}
