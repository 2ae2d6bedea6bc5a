"""Stream options: a request's body with token usage asked for on the client's behalf."""

import re
from collections.abc import Mapping
from typing import Final

import orjson

from app.operations.json_text import load

ASK: Final = b'"stream_options":{"include_usage":true},'
_OPTIONS: Final = re.compile(rb'"stream_options"\s*:\s*(null|\{[^{}]*\})')


def asking_for_usage(body: bytes, parsed: Mapping[str, object]) -> bytes | None:
    """The body with usage asked for; None where that is not to be done.

    The client's bytes stay as they are but for the added member, or the stream options it gave.
    """
    if parsed.get("stream") is not True or parsed.get("data_sources") is not None:
        return None
    if "stream_options" not in parsed:
        start = body.index(b"{") + 1
        return body[:start] + ASK + body[start:]
    options = parsed["stream_options"]
    if options is not None and (not isinstance(options, dict) or options.get("include_usage") is True):
        return None  # asked for already, or something upstream shall refuse
    return _with_options(body, {**(options or {}), "include_usage": True})


def _with_options(body: bytes, options: Mapping[str, object]) -> bytes | None:
    """The body with other stream options in the place of its own; None where that cannot be told for sure."""
    places = list(_OPTIONS.finditer(body))
    if len(places) != 1:
        return None
    place = places[0]
    try:
        changed = body[: place.start(1)] + orjson.dumps(options) + body[place.end(1) :]
        parsed = load(changed)
    except (TypeError, ValueError):  # a text that is no Unicode, a number beyond 64 bits
        return None
    return changed if isinstance(parsed, dict) and parsed.get("stream_options") == options else None
