"""Stream options: requests token usage for a client that did not."""

import re
from collections.abc import Mapping
from typing import Final

import orjson

from app.operations.json_text import JsonText
from app.operations.members import Members

ASK: Final = b'"stream_options":{"include_usage":true},'
_OPTIONS: Final = re.compile(rb'"stream_options"\s*:\s*(null|\{[^{}]*\})')


def request_usage(body: JsonText, parsed: Mapping[str, object]) -> JsonText | None:
    """The body with usage requested; None if it must stay as it is.

    The client's bytes are unchanged except for the added member or the client's own stream options.
    """
    if parsed.get("stream") is not True or parsed.get("data_sources") is not None:
        return None
    if "stream_options" not in parsed:
        start = body.index(b"{") + 1
        return body[:start] + ASK + body[start:]
    options = parsed["stream_options"]
    if options is not None and (not isinstance(options, dict) or options.get("include_usage") is True):
        return None  # requested already, or invalid, which upstream must reject
    return _with_options(body, {**(options or {}), "include_usage": True})


def _with_options(body: JsonText, options: Mapping[str, object]) -> JsonText | None:
    """The body with its stream options replaced; None if their place in the bytes is not certain."""
    places = list(_OPTIONS.finditer(body))
    if len(places) != 1:
        return None
    place = places[0]
    try:
        changed = body[: place.start(1)] + orjson.dumps(options) + body[place.end(1) :]
        parsed = Members.of(changed)
    except (TypeError, ValueError):  # a lone surrogate, a number beyond 64 bits
        return None
    return changed if parsed.get("stream_options") == options else None
