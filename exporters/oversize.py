"""Oversize: shortens the longest strings of records that are too large for an event."""

from contextlib import suppress
from typing import Final

from exporters.record import Json, parse
from exporters.strings import dump, map_strings

_MARK: Final = "…"
_KEPT_MIN: Final = 64
"""Strings up to this length are not cut: ids, times and codes are all shorter."""
_SENT: Final = frozenset({"prompt", "instructions", "request"})
_SAID: Final = frozenset(
    {"refusal", "reasoning", "finish_reasons", "tool_calls", "choices", "content_filter", "hosted_calls"}
)


def shortened(line: bytes, limit: int, **more: str | int) -> bytes:
    """The record with its longest strings cut until it is at most `limit` bytes long (8 KiB is always enough).

    It is marked `truncated`; `more` are fields to add. It stays a valid record: if cutting is not enough, the prompt is
    left out, and then everything but names, times, counts, caller and error. Raises ValueError for a line that is not a
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
        with suppress(RecursionError):  # nested too deeply
            short = _cut(candidate, added, limit)
            if len(short) <= limit:
                break
    return short


def _without(record: Json, names: frozenset[str]) -> Json:
    return {name: value for name, value in record.items() if name not in names}


def _before_prompt(line: bytes) -> Json:
    """The fields before the prompt, which are flat, and the fixed fields."""
    flat = parse(line.partition(b',"prompt":')[0] + b"}")
    return {"content": "", "usage": None, "latency_ms": None, **flat, "prompt": None}


def _cut(record: Json, added: Json, limit: int) -> bytes:
    """The record as JSON with strings cut as far as needed, or as far as allowed if that is not enough."""
    short = dump({**record, **added})
    if len(short) <= limit:
        return short
    if len(least := dump({**_cut_to(_KEPT_MIN, record), **added})) > limit:
        return least
    longest = max(_lengths(record))
    while len(short) > limit:
        # the excess may be spread over any number of strings: halving their limit fits in a few rounds
        longest = max(longest // 2, _KEPT_MIN)
        record = _cut_to(longest, record)
        short = dump({**record, **added})
    return short


def _cut_to(longest: int, record: Json) -> Json:
    cut = map_strings(lambda text: text if len(text) <= longest else text[:longest] + _MARK)
    return {name: cut(value) for name, value in record.items()}


def _lengths(record: Json) -> list[int]:
    found: list[int] = []

    def measure(text: str) -> str:
        found.append(len(text))
        return text

    walk = map_strings(measure)
    for value in record.values():
        walk(value)
    return found
