"""The record: what one call says of itself to the consumers of the hub. This file alone knows its shape.

docs/record.schema.json describes it for other systems. The fields of `FIXED` are a contract: they are always
there, the two stream-only times aside, and mean the same for ever. Added fields are left out when unknown.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import orjson
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.util.types import AttributeValue

from otel import attributes as a

type Json = dict[str, object]

SCHEMA_VERSION: Final = 1

FIXED: Final = ("type", "content", "usage", "model", "prompt", "region", "latency_ms", "timestamp")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HEAD: Final = re.compile(rb'\{"type":"(\w+)","schema_version":(\d+),"id":"(\w+)"')
_UNDATED: Final = "0000-00-00T00:00:00.000000"


@dataclass(frozen=True, slots=True)
class Record:
    """One record, made by `from_span` and written by `to_json`."""

    fields: Mapping[str, object]

    @classmethod
    def from_span(cls, span: ReadableSpan) -> "Record":
        """The record of a finished call span (`otel.span.CallSpan`)."""
        return cls._of(span, _naive(_utc(span.end_time or 0)))

    @classmethod
    def interrupted(cls, span: ReadableSpan) -> "Record":
        """The record that a call just begun shall have if its process is killed; `adopted` gives it its date."""
        record = cls._of(span, _UNDATED)
        return cls({**record.fields, "status": "interrupted"})

    @classmethod
    def _of(cls, span: ReadableSpan, timestamp: str) -> "Record":
        facts = _facts(span)
        context = span.get_span_context()
        stream = bool(facts.get(a.REQUEST_STREAM))
        latency = _whole(facts.get(a.LATENCY_MS))
        fields: dict[str, object] = {
            "type": "stream_completion" if stream else "completion",
            "schema_version": SCHEMA_VERSION,
            "id": facts.get(a.CALL_ID),
            "trace_id": f"{context.trace_id:032x}" if context else None,
            "span_id": f"{context.span_id:016x}" if context else None,
            "timestamp": timestamp,
            "started_at": _naive(_utc(span.start_time or 0)) + "Z",
            "operation": facts.get(a.OPERATION_NAME),
            "model": facts.get(a.RESPONSE_MODEL) or facts.get(a.DEPLOYMENT) or "unknown",
            "deployment": facts.get(a.DEPLOYMENT),
            "region": facts.get(a.REGION) or "unknown",
            "stream": stream,
            "status": facts.get(a.STATUS),
            "http_status": facts.get(a.HTTP_STATUS),
            "error": _error(facts),
            "prompt": _json(facts.get(a.PROMPT)),
            "content": facts.get(a.ANSWER) or "",
            "usage": _json(facts.get(a.USAGE)),
            "latency_ms": latency,
            **(_stream_times(facts, latency) if stream else {}),
            **{name: facts.get(attribute) for name, attribute in _PLAIN.items()},
            **{name: _json(facts.get(attribute)) for name, attribute in _AS_JSON.items()},
            "caller": _caller(facts),
        }
        return cls({name: value for name, value in fields.items() if value is not None or name in FIXED})

    def to_json(self) -> bytes:
        """One line of UTF-8 JSON without a line end; `type` and `schema_version` come first."""
        try:
            return orjson.dumps(self.fields)
        except TypeError:  # a lone surrogate in a text: not Unicode, so no JSON can hold it
            return orjson.dumps({name: _encodable(value) for name, value in self.fields.items()})


def _facts(span: ReadableSpan) -> Mapping[str, AttributeValue]:
    """The span's attributes as a plain dict: each look into the SDK's own mapping takes a lock, and here come fifty."""
    copy = getattr(span.attributes, "copy", None)
    return copy() if copy else span.attributes or {}


_PLAIN: Final = {
    "api_version": a.API_VERSION,
    "finish_reasons": a.RESPONSE_FINISH_REASONS,
    "refusal": a.REFUSAL,
    "reasoning": a.REASONING,
    "usage_source": a.USAGE_SOURCE,
    "time_to_first_token_ms": a.TIME_TO_FIRST_TOKEN_MS,
    "chunks": a.CHUNKS,
    "backend": a.BACKEND,
    "attempts": a.ATTEMPTS,
    "response_id": a.RESPONSE_ID,
    "system_fingerprint": a.RESPONSE_SYSTEM_FINGERPRINT,
    "service_tier": a.RESPONSE_SERVICE_TIER,
    "apim_request_id": a.APIM_REQUEST_ID,
    "client_request_id": a.CLIENT_REQUEST_ID,
    "spilled_over": a.SPILLED_OVER,
    "audio_id": a.AUDIO_ID,
    "truncated": a.TRUNCATED,
    "content_captured": a.CONTENT_CAPTURED,
    "request_bytes": a.REQUEST_BYTES,
    "response_bytes": a.RESPONSE_BYTES,
}
_AS_JSON: Final = {
    "instructions": a.INSTRUCTIONS,
    "tool_calls": a.TOOL_CALLS,
    "choices": a.CHOICES,
    "content_filter": a.CONTENT_FILTER,
}


def event_properties(line: bytes) -> dict[str, str | int]:
    """The application properties an event carries beside its body, read off a record's line.

    Raises ValueError for a line that is no record.
    """
    found = _HEAD.match(line)
    if found is None:
        raise ValueError("not a record: it does not begin with type, schema_version and id")
    return {"type": found[1].decode(), "schema_version": int(found[2])}


def record_id(line: bytes) -> str | None:
    """The id of a record's line, None for a line that is no record."""
    found = _HEAD.match(line)
    return found[3].decode() if found else None


def adopted(line: bytes, at: datetime) -> bytes:
    """The line of an interrupted record, dated with the moment it was found after its process had died."""
    return line.replace(_UNDATED.encode(), _naive(at).encode(), 1)


def _stream_times(facts: Mapping[str, AttributeValue], latency: int | None) -> dict[str, object]:
    """The two times of a stream, which add up to the latency; without any chunk the first is all of it."""
    if latency is None:
        return {}
    first = _whole(facts.get(a.TIME_TO_FIRST_CHUNK_MS))
    first = latency if first is None else first
    return {"time_to_first_chunk_ms": first, "streaming_duration_ms": latency - first}


def _error(facts: Mapping[str, AttributeValue]) -> dict[str, object] | None:
    code = facts.get(a.ERROR_CODE)
    return None if code is None else {"code": code, "message": facts.get(a.ERROR_MESSAGE)}


def _caller(facts: Mapping[str, AttributeValue]) -> dict[str, object] | None:
    """The caller's fields by their own names; None when nothing is known."""
    prefix = len(a.CALLER)
    return {name[prefix:]: value for name, value in facts.items() if name.startswith(a.CALLER)} or None


def _json(value: AttributeValue | None) -> orjson.Fragment | None:
    """JSON text as it stands, spliced into the record without being read again."""
    return orjson.Fragment(value) if isinstance(value, str) else None


def _whole(value: AttributeValue | None) -> int | None:
    return value if isinstance(value, int) else None


def _encodable(value: object) -> object:
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case list() | tuple():
            return [_encodable(entry) for entry in value]
        case dict():
            return {name: _encodable(entry) for name, entry in value.items()}
    return value


def _naive(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds")


def _utc(epoch_ns: int) -> datetime:
    return _EPOCH + timedelta(microseconds=epoch_ns // 1000)


def parse(line: bytes) -> Json:
    """A record's line as an object, its fields in their order; texts may hold lone surrogates.

    Raises ValueError, and RecursionError for one that is nested some 10,000 levels deep.
    """
    try:
        parsed = orjson.loads(line)
    except orjson.JSONDecodeError:  # JSON allows a lone surrogate as an escape, and more than 1,024 levels
        parsed = json.loads(line)
    if not isinstance(parsed, dict):
        raise ValueError("not a record: no JSON object")
    return parsed
