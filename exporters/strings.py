"""Strings: maps every string in a JSON value, and writes such a value."""

import json
from collections.abc import Callable

import orjson


def map_strings(leaf: Callable[[str], object]) -> Callable[[object], object]:
    """A function that applies `leaf` to every string in a JSON value except keys; raises RecursionError if too deep."""

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


def dump(value: object) -> bytes:
    """A JSON value as one line of UTF-8; raises RecursionError."""
    try:
        return orjson.dumps(value)
    except TypeError:  # a lone surrogate, a number beyond 64 bits, or more than 254 levels
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
