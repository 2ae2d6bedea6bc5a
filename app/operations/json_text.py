"""JSON as it comes over the wire: orjson, and Python's own parser for the valid texts that orjson refuses."""

import json
import math
from typing import Final

import orjson

_REFUSED_BUT_VALID: Final = ("surrogate", "infinity", "depth limit", "BOM")
"""Words of its complaints about texts that may be valid. For any other, the slower parser need not be asked."""


def load(text: bytes) -> object:
    """Parse JSON. Raises ValueError, whose message names the place and never the text.

    orjson refuses what RFC 8259 allows: a lone surrogate written as an escape, a number too large for a double.
    Upstream may take them, so the proxy must.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as fault:
        try:
            if not any(reason in fault.msg for reason in _REFUSED_BUT_VALID):
                raise
            # as UTF-8, since Python would guess at UTF-16 and UTF-32, which are no JSON (RFC 8259 §8.1)
            return json.loads(str(text, "utf-8-sig"), parse_float=_finite, parse_constant=_refuse)
        except (ValueError, RecursionError):
            raise ValueError(f"{fault.msg.partition(':')[0]}: byte {fault.pos}") from None


def dump(value: object) -> str:
    """Write parsed JSON again."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _finite(number: str) -> float | str:
    """A number, as its own text where no double can hold it."""
    value = float(number)
    return value if math.isfinite(value) else number


def _refuse(constant: str) -> None:
    """NaN and Infinity, which Python would take, are no JSON."""
    raise ValueError("no JSON")
