"""The record of one call, for the consumers of the hub. Only this file knows its shape.

docs/record.schema.json describes it for other systems. The fields in `FIXED` are a contract: they are always present
and never change their meaning. (The two times of streams are fixed too, but only streams have them.) Added fields are
left out when unknown.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

import orjson
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.util.types import AttributeValue

from otel import attributes as a

type Json = dict[str, object]

SCHEMA_VERSION: Final = 1

MAX_VALUES: Final = 500_000
"""As objects they take some 50 MB, and some 20 ms to make."""

FIXED: Final = ("type", "content", "usage", "model", "prompt", "region", "latency_ms", "timestamp")

_EPOCH: Final = datetime(1970, 1, 1)
_HEAD: Final = re.compile(rb'\{"type":"(\w+)","schema_version":(\d+),"id":"(\w+)"')
_UNDATED: Final = "0000-00-00T00:00:00.000000"


@dataclass(frozen=True, slots=True)
class Record:
    """One record, built by `from_span` and written by `to_json`."""

    fields: Mapping[str, object]

    @classmethod
    def from_span(cls, span: ReadableSpan) -> "Record":
        """The record of a finished call span (`otel.span.CallSpan`)."""
        return cls(_fields(span, _iso(span.end_time or 0)))

    @classmethod
    def interrupted(cls, span: ReadableSpan) -> "Record":
        """The record that a call just started gets if its process is killed; `adopted` sets its timestamp."""
        return cls({**_fields(span, _UNDATED), "status": "interrupted"})

    @property
    def id(self) -> str | None:
        """The call's id, None if the span is not a call's."""
        call = self.fields["id"]
        return call if isinstance(call, str) else None

    def to_json(self) -> bytes:
        """One line of UTF-8 JSON without a newline; `type`, `schema_version` and `id` come first.

        JSON in a bytearray is long: it is joined at the end, since a buffer that grows takes twice the memory.
        """
        long = [(name, value) for name, value in self.fields.items() if isinstance(value, bytearray)]
        if long:
            names = {name for name, _ in long}
            rest = Record({name: value for name, value in self.fields.items() if name not in names}).to_json()
            members = [part for name, value in long for part in (b',"%b":' % name.encode(), value)]
            return b"".join([memoryview(rest)[:-1], *members, b"}"])
        try:
            return orjson.dumps(self.fields)
        except TypeError:  # a lone surrogate, which UTF-8 cannot encode
            return orjson.dumps({name: _encodable(value) for name, value in self.fields.items()})


def _fields(span: ReadableSpan, timestamp: str) -> Json:
    """Runs twice per call."""
    facts = a.facts_of(span)
    layout = _layout(tuple(facts))
    context = span.get_span_context()
    stream = bool(facts.get(a.REQUEST_STREAM))
    fields: Json = {
        "type": "stream_completion" if stream else "completion",
        "schema_version": SCHEMA_VERSION,
        "id": facts.get(a.CALL_ID),
        "trace_id": f"{context.trace_id:032x}" if context else None,
        "span_id": f"{context.span_id:016x}" if context else None,
        "timestamp": timestamp,
        "started_at": _iso(span.start_time or 0) + "Z",
        "model": facts.get(a.RESPONSE_MODEL) or facts.get(a.DEPLOYMENT) or "unknown",
        "region": facts.get(a.REGION) or "unknown",
        "stream": stream,
        "content": "",
        "latency_ms": None,
        **{name: facts[attribute] for attribute, name in layout.plain},
    }
    # last: if one is nested too deeply to be parsed, the fields before it can still be read (`exporters.oversize`)
    as_json: Json = {"prompt": None, "usage": None}
    for attribute, name in layout.as_json:
        text = facts[attribute]
        # spliced in as it is, without parsing
        as_json[name] = text if isinstance(text, bytearray) else orjson.Fragment(str(text))
    if layout.caller:
        fields["caller"] = {name: facts[attribute] for attribute, name in layout.caller}
    if (code := facts.get(a.ERROR_CODE)) is not None:
        fields["error"] = {"code": code, "message": facts.get(a.ERROR_MESSAGE)}
    if stream:
        _add_stream_times(fields, facts)
    if isinstance(attempts := facts.get(a.ATTEMPTS), int) and attempts > 1:
        fields["attempts_made"] = _attempts_made(span)
    fields.update(as_json)
    return fields


_PLAIN: Final = {
    a.OPERATION_NAME: "operation",
    a.DEPLOYMENT: "deployment",
    a.API_VERSION: "api_version",
    a.STATUS: "status",
    a.HTTP_STATUS: "http_status",
    a.ANSWER: "content",
    a.LATENCY_MS: "latency_ms",
    a.TIME_TO_FIRST_TOKEN_MS: "time_to_first_token_ms",
    a.RESPONSE_FINISH_REASONS: "finish_reasons",
    a.REFUSAL: "refusal",
    a.REASONING: "reasoning",
    a.USAGE_SOURCE: "usage_source",
    a.CHUNKS: "chunks",
    a.BACKEND: "backend",
    a.ATTEMPTS: "attempts",
    a.RESPONSE_ID: "response_id",
    a.RESPONSE_SYSTEM_FINGERPRINT: "system_fingerprint",
    a.RESPONSE_SERVICE_TIER: "service_tier",
    a.APIM_REQUEST_ID: "apim_request_id",
    a.CLIENT_REQUEST_ID: "client_request_id",
    a.SPILLED_OVER: "spilled_over",
    a.AUDIO_ID: "audio_id",
    a.REQUEST_ID: "request_id",
    a.PREVIOUS_RESPONSE_ID: "previous_response_id",
    a.CONVERSATION_ID: "conversation_id",
    a.RESPONSE_STATUS: "response_status",
    a.SERVED_BY: "served_by",
    a.SPILLED_FROM: "spilled_from",
    a.UPSTREAM_MS: "upstream_ms",
    a.CONNECTION_ID: "connection_id",
    a.SESSION_ID: "session_id_upstream",
    a.TIME_TO_FIRST_AUDIO_MS: "time_to_first_audio_ms",
    a.TRUNCATED: "truncated",
    a.CONTENT_BYTES: "content_bytes",
    a.CONTENT_CAPTURED: "content_captured",
    a.REQUEST_BYTES: "request_bytes",
    a.RESPONSE_BYTES: "response_bytes",
}
_AS_JSON: Final = {
    a.PROMPT: "prompt",
    a.USAGE: "usage",
    a.FETCHED_USAGE: "usage",
    a.INSTRUCTIONS: "instructions",
    a.MEMBERS: "request",
    a.HOSTED_CALLS: "hosted_calls",
    a.UNITS: "units",
    a.RATE_LIMIT: "rate_limit",
    a.TOOL_CALLS: "tool_calls",
    a.CHOICES: "choices",
    a.CONTENT_FILTER: "content_filter",
}


type _Named = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class _Layout:
    """Which attributes of a span become fields, as pairs of attribute and field name."""

    plain: _Named
    as_json: _Named
    caller: _Named


@lru_cache(maxsize=256)
def _layout(attributes: tuple[str, ...]) -> _Layout:
    """Cached, since most calls have the same attributes."""
    return _Layout(
        plain=[(attribute, name) for attribute, name in _PLAIN.items() if attribute in attributes],
        as_json=[(attribute, name) for attribute, name in _AS_JSON.items() if attribute in attributes],
        caller=[(name, name.removeprefix(a.CALLER)) for name in attributes if name.startswith(a.CALLER)],
    )


def event_properties(line: bytes | memoryview) -> dict[str, str | int]:
    """The event's application properties, from a record's line.

    Raises ValueError for a line that is not a record.
    """
    found = _HEAD.match(line)
    if found is None:
        raise ValueError("not a record: it does not begin with type, schema_version and id")
    return {"type": found[1].decode(), "schema_version": int(found[2])}


def record_id(line: bytes) -> str | None:
    """The id in a record's line, None for a line that is not a record."""
    found = _HEAD.match(line)
    return found[3].decode() if found else None


def adopted(line: bytes, at: datetime) -> bytes:
    """The line of an interrupted record, with the time of its adoption as its timestamp."""
    return line.replace(
        _UNDATED.encode(), at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds").encode(), 1
    )


def _add_stream_times(fields: Json, facts: Mapping[str, AttributeValue]) -> None:
    """Add the two times of a stream, which add up to the latency; without a chunk the first one is all of it."""
    latency, first = facts.get(a.LATENCY_MS), facts.get(a.TIME_TO_FIRST_CHUNK_MS)
    if isinstance(latency, int):
        first = first if isinstance(first, int) else latency
        fields["time_to_first_chunk_ms"], fields["streaming_duration_ms"] = first, latency - first


def _attempts_made(span: ReadableSpan) -> list[Json]:
    """Each request sent upstream: its backend, milliseconds since the call arrived, and the response's status."""
    return [
        {
            "backend": made.get(a.BACKEND),
            "after_ms": (event.timestamp - (span.start_time or 0)) // 1_000_000,
            **({"http_status": made[a.HTTP_STATUS]} if a.HTTP_STATUS in made else {}),
        }
        for event in span.events
        if event.name == a.ATTEMPT and (made := event.attributes or {})
    ]


def _encodable(value: object) -> object:
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case list() | tuple():
            return [_encodable(entry) for entry in value]
        case dict():
            return {name: _encodable(entry) for name, entry in value.items()}
    return value


def _iso(epoch_ns: int) -> str:
    """A time in UTC as the record writes it: without an offset, to the microsecond."""
    return f"{_second(epoch_ns // 1_000_000_000)}.{epoch_ns // 1000 % 1_000_000:06d}"


@lru_cache(maxsize=64)
def _second(epoch: int) -> str:
    """Cached, since calls start and end within the same few seconds."""
    return (_EPOCH + timedelta(seconds=epoch)).isoformat(timespec="seconds")


def parse(line: bytes) -> Json:
    """A record's line as an object, its fields in order; strings may contain lone surrogates.

    Raises ValueError, and RecursionError at some 10,000 levels of nesting, or for too many values.
    """
    if line.count(b",") > MAX_VALUES:
        raise RecursionError("too many values")
    try:
        parsed = orjson.loads(line)
    except orjson.JSONDecodeError:  # JSON allows escaped lone surrogates, and more than 1,024 levels
        parsed = json.loads(line)
    if not isinstance(parsed, dict):
        raise ValueError("not a record: not a JSON object")
    return parsed
