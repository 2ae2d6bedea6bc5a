"""Scrub: makes the copy of a span that may leave the process: bounded in size, without content or secrets."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import unquote_plus

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Status
from opentelemetry.util.types import AttributeValue

from otel import attributes as a

NAME_LENGTH: Final = 256
TEXT_LENGTH: Final = 1024
JSON_LENGTH: Final = 8192  # Azure Monitor's own limit for a property
CONTENT_BYTES: Final = 32 * 1024  # all content together: half of what Azure Monitor accepts as a span's properties

_JSON: Final = frozenset({a.CONTENT_FILTER, a.USAGE, a.HOSTED_CALLS})
_CONTENT_PREFIXES: Final = (a.PROMPT, a.ANSWER)
_CONTENT: Final = a.CONTENT | {a.REQUEST_STOP_SEQUENCES}
_NEVER: Final = (*_CONTENT_PREFIXES, "proxy.fetched.", "http.request.header.", "http.response.header.")
_URLS: Final = frozenset({"http.url", "http.target", "url.full", "url.query", "url.original"})
_SECRETS: Final = frozenset({"code", "sig", "subscription-key", "api-key", "key", "token", "access_token"})
_PARAMETER: Final = re.compile(r"(?<![^?&;])([^?&;=#]+)=([^&;#]*)")
_EXCEPTION_TYPE: Final = "exception.type"


class Scrub:
    """Decides by its name whether an attribute leaves the process.

    Headers and exceptions' messages never do; content and caller only if enabled. A span is scrubbed when it ends, not
    when it is exported, so that no queue holds prompts.
    """

    def __init__(self, *, content: bool = False, caller: bool = False) -> None:
        self._content = content
        self._caller = caller

    def __call__(self, span: ReadableSpan) -> ReadableSpan:
        """The copy. Content comes last, since Azure Monitor cuts at the end what exceeds its limits."""
        scope = span.instrumentation_scope
        ours = scope is not None and scope.name == a.SCOPE
        given = span.attributes or {}
        kept = {name: bounded(name, value) for name, value in given.items() if self._passes(name)}
        if self._content:
            kept.update(_content(given))
        return ReadableSpan(
            name=encodable(span.name[:NAME_LENGTH]),
            context=span.get_span_context(),
            parent=span.parent,
            resource=span.resource,
            attributes=kept,
            events=[self._event(event) for event in span.events],
            links=span.links,
            kind=span.kind,
            # on other instrumentations' spans the description is an exception's text
            status=Status(span.status.status_code, _bounded(span.status.description) if ours else None),
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=scope,
        )

    def _event(self, event: Event) -> Event:
        given: Mapping[str, AttributeValue] = event.attributes or {}
        if event.name == "exception":
            given = {name: value for name, value in given.items() if name == _EXCEPTION_TYPE}
        kept = {name: bounded(name, value) for name, value in given.items() if self._passes(name)}
        return Event(event.name, kept, event.timestamp)

    def _passes(self, name: str) -> bool:
        if name.startswith(a.CALLER):
            return self._caller
        return not (name in _CONTENT or name.startswith(_NEVER))


def bounded(name: str, value: AttributeValue) -> AttributeValue:
    """The value cut to the limit for that name and encodable in UTF-8; a URL without its secrets."""
    if isinstance(value, str):
        if name in _URLS:
            value = without_secrets(value)
        return encodable(value[: JSON_LENGTH if name in _JSON else TEXT_LENGTH])
    if isinstance(value, Sequence):
        return [encodable(entry[:TEXT_LENGTH]) if isinstance(entry, str) else entry for entry in value[:128]]
    return value


def _bounded(text: str | None) -> str | None:
    return None if text is None else encodable(text[:TEXT_LENGTH])


def encodable(text: str) -> str:
    """The text with lone surrogates replaced: a single one would make the encoder fail on the whole batch."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def without_secrets(url: str) -> str:
    """A URL or query string with the values of secret parameters redacted."""

    def redacted(found: re.Match[str]) -> str:
        name = found[1]
        return f"{name}=REDACTED" if unquote_plus(name).lower() in _SECRETS else found[0]

    return _PARAMETER.sub(redacted, url) if "=" in url else url


def _content(given: Mapping[str, AttributeValue]) -> Iterator[tuple[str, AttributeValue]]:
    """Content: each string cut to Azure Monitor's limit, all together to `CONTENT_BYTES`."""
    left = CONTENT_BYTES
    for name, value in given.items():
        if not (name in _CONTENT or name.startswith(_CONTENT_PREFIXES)):
            continue
        if isinstance(value, bytearray):
            value = value[: 4 * JSON_LENGTH].decode("utf-8", "ignore")
        text = value if isinstance(value, str) else str(value)
        cut = text[:JSON_LENGTH].encode("utf-8", "replace")[:left]
        left -= len(cut)
        if cut:
            yield name, cut.decode("utf-8", "ignore")
