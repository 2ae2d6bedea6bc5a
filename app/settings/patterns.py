"""PROXY_REDACT: the regular expressions whose matches are replaced in recorded text."""

import json


def read_patterns(text: str) -> tuple[tuple[str, ...], list[str]]:
    """The patterns of PROXY_REDACT, and every fault in them; a fault names a place and not the pattern."""
    import regex

    name = "PROXY_REDACT"
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        return (), [f"{name} is not valid JSON"]
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        return (), [f"{name} must be a JSON list of regular expressions"]
    faults = []
    for index, entry in enumerate(entries):
        try:
            if regex.compile(entry).search("") is not None:
                faults.append(f"{name}[{index}] matches the empty string")
        except (regex.error, RecursionError, OverflowError, MemoryError) as fault:
            reason, position = getattr(fault, "msg", "too complex"), getattr(fault, "pos", None)
            place = "" if position is None else f" at position {position}"
            faults.append(f"{name}[{index}] is not a regular expression: {reason}{place}")
    return tuple(entries), faults
