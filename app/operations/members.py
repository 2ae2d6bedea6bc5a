"""The members of a request's body beside its prompt and instructions: tools, parameters, metadata …"""

import re
from collections.abc import Iterator, Mapping, Set
from typing import Final

from app.operations.json_text import dump

WORDS: Final[Mapping[str, Set[str]]] = {
    "service_tier": {"auto", "default", "flex", "priority", "scale", "batch", "standard_only"},
    "effort": {"none", "minimal", "low", "medium", "high", "xhigh", "max"},
    "verbosity": {"low", "medium", "high"},
    "truncation": {"auto", "disabled"},
    "tool_choice": {"none", "auto", "required", "any"},
}
"""Members whose text is one of the API's own words; any other text may be a client's."""
CONTAINERS: Final = frozenset({"reasoning", "text", "stream_options"})
"""Objects whose members are the API's own too. Others, such as metadata or schemas, have names that clients chose."""
_MODEL: Final = re.compile(r"[\w.:/-]{1,128}", re.ASCII)
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")


def other_members(body: Mapping[str, object], apart: Set[str]) -> str:
    """The members of a body except those with fields of their own, as JSON."""
    return dump({name: value for name, value in body.items() if name not in apart})


def reduced_members(body: Mapping[str, object], apart: Set[str]) -> str:
    """The same without any text that a client wrote: numbers, booleans, and words from the API's own lists."""
    return dump(dict(_reduced((name, value) for name, value in body.items() if name not in apart)))


def _reduced(members: Iterator[tuple[str, object]], nested: bool = False) -> Iterator[tuple[str, object]]:
    for name, value in members:
        if isinstance(value, bool | int | float):
            if _NAME.fullmatch(name):
                yield name, value
        elif isinstance(value, str):
            if value in WORDS.get(name, ()) or (name == "model" and _MODEL.fullmatch(value)):
                yield name, value
        elif isinstance(value, dict) and name in CONTAINERS and not nested:
            kept = dict(_reduced(iter(value.items()), nested=True))
            if kept:
                yield name, kept
