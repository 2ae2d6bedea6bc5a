"""JSON from the wire: orjson, and Python's own parser for valid texts that orjson rejects."""

import json
import math
from typing import Final

import orjson

type JsonText = bytes | bytearray
"""JSON in UTF-8, as it came."""

_REJECTED_BUT_VALID: Final = ("surrogate", "infinity", "depth limit", "BOM")
"""Parts of orjson's messages for texts that may be valid. After any other error, the slower parser is not tried."""


def load(text: JsonText | memoryview) -> object:
    """Parse JSON. Raises ValueError with the position, never the text, in its message.

    orjson rejects what RFC 8259 allows: an escaped lone surrogate, a number too large for a double. Upstream may accept
    them, so the proxy must.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as fault:
        try:
            if not any(reason in fault.msg for reason in _REJECTED_BUT_VALID):
                raise
            # decoded here, since Python would also accept UTF-16 and UTF-32, which are not JSON (RFC 8259 §8.1)
            return json.loads(str(text, "utf-8-sig"), parse_float=_finite, parse_constant=_refuse)
        except (ValueError, RecursionError):
            raise ValueError(f"{fault.msg.partition(':')[0]}: byte {fault.pos}") from None


def load_object(text: bytes) -> dict[str, object] | None:
    """The JSON object in `text`; None if it is not one."""
    try:
        parsed = load(text)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def dump(value: object) -> str:
    """Serialize parsed JSON."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _finite(number: str) -> float | str:
    """A number, or its text if it does not fit into a double."""
    value = float(number)
    return value if math.isfinite(value) else number


def _refuse(constant: str) -> None:
    """Reject NaN and Infinity, which Python accepts and JSON does not have."""
    raise ValueError("not JSON")
