"""Members: a JSON object whose members are slices of its text, parsed one by one when they are asked for.

A request's prompt and other members reach the record as they were sent, and no body, however it is made, becomes
objects as a whole.
"""

import codecs
import re
from collections.abc import Iterator, Mapping, Set
from functools import lru_cache
from typing import Final

import msgspec

from app.operations.json_text import JsonText, dump, load
from otel.density import is_dense

MAX_PARSED: Final = 256 * 1024
"""Bytes of a member up to which it is parsed; whatever is read of a request is far shorter."""
PIECE: Final = 64 * 1024
MAX_WHOLE: Final = 8 * 1024 * 1024
"""Limit on JSON that can only be parsed as a whole."""
_SPLIT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_UNPARSED: Final = object()

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


class TooCostly(Exception):
    """A JSON text is too large to be parsed as a whole, and nothing else will do."""


class Members(Mapping[str, object]):
    """An object's members by name. One longer than MAX_PARSED is there, but has no value that means anything."""

    __slots__ = ("_texts",)

    def __init__(self, texts: Mapping[str, bytes | msgspec.Raw]) -> None:
        """`texts` are valid JSON."""
        self._texts = texts

    @classmethod
    def of(cls, text: JsonText) -> "Members":
        """The members of a JSON object in UTF-8.

        Raises TypeError for other JSON, ValueError for what is not JSON, TooCostly for a large text that may be either.
        """
        try:
            return cls(_SPLIT.decode(text))
        except (msgspec.DecodeError, RecursionError):  # lone surrogates and deep nesting are valid too
            if len(text) > MAX_WHOLE or is_dense(text):
                raise TooCostly from None
            parsed = load(text)
        if not isinstance(parsed, dict):
            raise TypeError
        return cls({name: dump(value).encode() for name, value in parsed.items()})

    def text(self, name: str) -> str:
        """A member as JSON on one line; UnicodeDecodeError, a ValueError, if it is not UTF-8."""
        text = str(self._texts[name], "utf-8")
        if "\n" in text or "\r" in text:  # only between values: strings have them escaped
            return text.replace("\n", " ").replace("\r", " ")
        return text

    def json(self, name: str) -> str | bytearray:
        """The same, in bytes where it is long: as text, it may take four times their memory."""
        view = memoryview(self._texts[name])
        if view.nbytes <= MAX_PARSED:
            return self.text(name)
        check, pieces = codecs.getincrementaldecoder("utf-8")(), bytearray()
        for at in range(0, view.nbytes, PIECE):  # so that a thread that does this lets others run
            piece = bytes(view[at : at + PIECE])
            check.decode(piece)
            pieces += piece.replace(b"\n", b" ").replace(b"\r", b" ")
        check.decode(b"", final=True)
        return pieces

    def get(self, name: str, default: object = None) -> object:
        """A member's value."""
        text = self._texts.get(name)
        if text is None:
            return default
        view = memoryview(text)
        return load(view) if view.nbytes <= MAX_PARSED else _UNPARSED

    def __getitem__(self, name: str) -> object:
        if name not in self._texts:
            raise KeyError(name)
        return self.get(name)

    def __contains__(self, name: object) -> bool:
        return name in self._texts

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


def other_members(body: Members, apart: Set[str]) -> str:
    """The members of a body except those with fields of their own, as JSON."""
    return "{" + ",".join([_named(name) + body.text(name) for name in body if name not in apart]) + "}"


@lru_cache(maxsize=256)
def _named(name: str) -> str:
    """Cached, since most bodies have the same members."""
    return dump(name) + ":"


def reduced_members(body: Members, apart: Set[str]) -> str:
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
