"""Simulation: how to respond to one call, parsed from the words of an `x-simulate` header."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any


class UnknownWord(ValueError):
    """An `x-simulate` text contains an unknown word or an invalid value."""


@dataclass(frozen=True)
class Simulation:
    """One field for each word explained in dev/azure_openai/__main__.py. Times are in milliseconds."""

    status: int | None = None
    retry_after_ms: int | None = None
    delay_ms: float = 0.0
    first_token_ms: float = 0.0
    token_ms: float = 0.0
    tokens: int | None = None
    filter: str = "sync"
    region: str = "Sweden Central"
    silent: bool = False
    cut_after: int | None = None
    close_after: int | None = None
    stall_after: int | None = None
    error_event_after: int | None = None
    no_done: bool = False
    no_usage: bool = False
    spilled_over: bool = False
    pieces: int | None = None

    def with_words(self, words: str) -> "Simulation":
        """Return a copy with changes: `name`, `name=value` or a bare status, separated by `;`.

        Raises UnknownWord.
        """
        changes: dict[str, Any] = {}
        for word in filter(None, map(str.strip, words.split(";"))):
            name, _, value = word.partition("=")
            if re.fullmatch(r"[1-5]\d\d", word):
                name, value = "status", word
            field = name.strip().replace("-", "_")
            try:
                changes[field] = _PARSERS[field](value.strip())
            except (KeyError, ValueError) as fault:
                raise UnknownWord(word) from fault
        return replace(self, **changes)


def _flag(value: str) -> bool:
    if value not in ("", "true"):
        raise ValueError(value)
    return True


def _count(value: str) -> int:
    if (number := int(value)) < 0:
        raise ValueError(value)
    return number


def _size(value: str) -> int:
    return _count(value) or _count("-1")


def _pause(value: str) -> float:
    if not 0 <= (number := float(value)) < float("inf"):
        raise ValueError(value)
    return number


def _status(value: str) -> int:
    if not 400 <= (number := int(value)) <= 599:
        raise ValueError(value)
    return number


def _filter(value: str) -> str:
    if value not in ("sync", "async", "off"):
        raise ValueError(value)
    return value


_PARSERS: dict[str, Callable[[str], object]] = {
    "status": _status,
    "retry_after_ms": _count,
    "delay_ms": _pause,
    "first_token_ms": _pause,
    "token_ms": _pause,
    "tokens": _count,
    "filter": _filter,
    "region": str,
    "silent": _flag,
    "cut_after": _count,
    "close_after": _count,
    "stall_after": _count,
    "error_event_after": _count,
    "no_done": _flag,
    "no_usage": _flag,
    "spilled_over": _flag,
    "pieces": _size,
}
