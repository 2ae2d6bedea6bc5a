"""CallerFields: what a request says of its caller, in the headers, baggage and JSON members that settings name."""

from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import unquote

from app.headers import RawHeaders, decoded

BAGGAGE: Final = "baggage"
LONGEST: Final = 512
"""Characters kept of a member of a body, the API's own limit for a metadata value. A header's length is bounded by its
head."""


class CallerFields:
    """Reads the fields of callers; the first value of a repeated header or key counts."""

    def __init__(self, headers: Mapping[str, str], body: Mapping[str, tuple[str, ...]]) -> None:
        """`headers` gives each field its header, or `baggage.KEY`; `body` the path of names to it in a JSON object."""
        keys = {field: name.partition(".")[2] for field, name in headers.items() if name.startswith(f"{BAGGAGE}.")}
        self._headers = {name.encode(): field for field, name in headers.items() if field not in keys}
        self._keys = {key: field for field, key in keys.items()}
        self._paths = body
        self.headers = frozenset(self._headers) | ({BAGGAGE.encode()} if keys else set())
        """The headers read, in lower case; they are meant for the proxy alone."""

    def of_headers(self, headers: RawHeaders) -> dict[str, str]:
        """The fields in a request's headers."""
        names = self._headers
        found = {names[name]: decoded(value) for name, value in reversed(headers) if name in names and value}
        if not self._keys:
            return found
        members = reversed([*_baggage(headers)])
        return {**{self._keys[key]: value for key, value in members if key in self._keys and value}, **found}

    def of_body(self, body: Mapping[str, object]) -> dict[str, str]:
        """The fields in a JSON body: texts and numbers. They are the client's own word."""
        if not self._paths:
            return {}
        found = ((field, _at(body, path)) for field, path in self._paths.items())
        return {field: text for field, text in found if text}


def _baggage(headers: RawHeaders) -> Iterator[tuple[str, str]]:
    """The keys and values of baggage, without properties (W3C Baggage §3.3)."""
    for name, value in headers:
        if name == BAGGAGE.encode():
            for member in decoded(value).split(","):
                key, _, text = member.partition(";")[0].partition("=")
                yield key.strip(), unquote(text.strip())


def _at(body: object, path: tuple[str, ...]) -> str | None:
    for name in path:
        body = body.get(name) if isinstance(body, Mapping) else None
    if isinstance(body, bool) or not isinstance(body, str | int | float):
        return None
    return str(body)[:LONGEST]
