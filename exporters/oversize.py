"""Records larger than an event may be: their longest texts are shortened."""

from contextlib import suppress
from typing import Final

from exporters.record import Json, parse
from exporters.texts import dump, each_text

_MARK: Final = "…"
_KEPT_MIN: Final = 64
"""Texts up to this long are not cut: ids, times and words that mean something are all shorter."""
_SENT: Final = frozenset({"prompt", "instructions"})
_SAID: Final = frozenset({"refusal", "reasoning", "finish_reasons", "tool_calls", "choices", "content_filter"})


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
    short = dump({**record, **added})
    if len(short) <= limit:
        return short
    if len(least := dump({**_cut_to(_KEPT_MIN, record), **added})) > limit:
        return least
    longest = max(_lengths(record))
    while len(short) > limit:
        # what is too much is spread over texts of any number: halving the allowance finds it in a few rounds
        longest = max(longest // 2, _KEPT_MIN)
        record = _cut_to(longest, record)
        short = dump({**record, **added})
    return short


def _cut_to(longest: int, record: Json) -> Json:
    cut = each_text(lambda text: text if len(text) <= longest else text[:longest] + _MARK)
    return {name: cut(value) for name, value in record.items()}


def _lengths(record: Json) -> list[int]:
    found: list[int] = []

    def measure(text: str) -> str:
        found.append(len(text))
        return text

    walk = each_text(measure)
    for value in record.values():
        walk(value)
    return found
