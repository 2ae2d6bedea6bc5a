"""Records larger than an event may be: data URIs become their digests, then the longest texts are shortened."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import orjson

from exporters.record import Json, parse

_DATA_URI: Final = re.compile(r"data:([\w.+/-]*)(?:;[\w.=-]+)*;base64,")
_MARK: Final = "…"
_KEPT_MIN: Final = 64
"""Texts up to this long are not cut: ids, times and words that mean something are all shorter."""
_SENT: Final = frozenset({"prompt", "instructions"})
_SAID: Final = frozenset({"refusal", "reasoning", "finish_reasons", "tool_calls", "choices", "content_filter"})


def without_data_uris(line: bytes) -> bytes:
    """The record with every base64 data URI of its prompt replaced by `{media_type, bytes, sha256}`.

    Raises ValueError for a line that is no JSON object.
    """
    try:
        record = parse(line)
        return _dump({**record, "prompt": _walker(_digest)(record.get("prompt"))})
    except RecursionError:  # nested too deep to walk
        return line


def shortened(line: bytes, limit: int, **more: str | int) -> bytes:
    """The record with its longest texts cut until it is at most `limit` bytes long (8 KiB can always be had).

    It says so by `truncated`; `more` are fields to add. It stays a valid record: where cut texts are not enough, the
    prompt is left out, and then all but names, times, counts, caller and error. Raises ValueError for a line that is no
    JSON object.
    """
    added: Json = {"truncated": True, **more}
    try:
        record = parse(line)
    except RecursionError:
        record = _before_prompt(line)
    unasked = {**_without(record, _SENT), "prompt": None}
    unsaid = {**_without(unasked, _SAID), "content": ""}
    for candidate in (record, unasked, unsaid):
        with suppress(RecursionError):  # nested too deep to walk
            short = _cut(candidate, added, limit)
            if len(short) <= limit:
                break
    return short


def _without(record: Json, names: frozenset[str]) -> Json:
    return {name: value for name, value in record.items() if name not in names}


def _before_prompt(line: bytes) -> Json:
    """What stands before the prompt, which is flat, and the fixed fields."""
    flat = parse(line.partition(b',"prompt":')[0] + b"}")
    return {**flat, "prompt": None, "content": "", "usage": None, "latency_ms": None}


def _cut(record: Json, added: Json, limit: int) -> bytes:
    """The record as JSON with texts cut as far as is needed, or as far as is allowed where that is not enough."""
    short = _dump({**record, **added})
    if len(short) <= limit:
        return short
    if len(least := _dump({**_cut_to(_KEPT_MIN, record), **added})) > limit:
        return least
    longest = max(_lengths(record))
    while len(short) > limit:
        # what is too much is spread over texts of any number: halving the allowance finds it in a few rounds
        longest = max(longest // 2, _KEPT_MIN)
        record = _cut_to(longest, record)
        short = _dump({**record, **added})
    return short


def _cut_to(longest: int, record: Json) -> Json:
    cut = _walker(lambda text: text if len(text) <= longest else text[:longest] + _MARK)
    return {name: cut(value) for name, value in record.items()}


def _lengths(record: Json) -> list[int]:
    found: list[int] = []

    def measure(text: str) -> str:
        found.append(len(text))
        return text

    walk = _walker(measure)
    for value in record.values():
        walk(value)
    return found


def _dump(record: Json) -> bytes:
    """Raises RecursionError."""
    try:
        return orjson.dumps(record)
    except TypeError:  # a lone surrogate, a number beyond 64 bits, or more than 254 levels
        return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


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
    except ValueError:  # binascii.Error, or a letter that is not ASCII
        content = encoded.encode("utf-8", "replace")
    digest = hashlib.sha256(content).hexdigest()
    return {"media_type": found[1] or "text/plain", "bytes": len(content), "sha256": digest}
