"""Encoded messages (AMQP 1.0 part 3 §3.2): split into sections, unpacked, annotated, read and built."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from dev.event_hubs.amqp_values import AmqpError, Described, Symbol, Timestamp, ULong, decode, encode

BATCH_FORMAT: Final = 0x80013700
"""The message-format of Event Hubs' batches: each data section is a whole encoded message."""

_HEADER: Final = 0x70
_DELIVERY_ANNOTATIONS: Final = 0x71
_MESSAGE_ANNOTATIONS: Final = 0x72
_PROPERTIES: Final = 0x73
_APPLICATION_PROPERTIES: Final = 0x74
_DATA: Final = 0x75
_VALUE: Final = 0x77

PARTITION_KEY: Final = Symbol("x-opt-partition-key")
_SEQUENCE_NUMBER: Final = Symbol("x-opt-sequence-number")
_OFFSET: Final = Symbol("x-opt-offset")
_ENQUEUED_TIME: Final = Symbol("x-opt-enqueued-time")


@dataclass(frozen=True, slots=True)
class Section:
    code: int
    value: object
    start: int
    end: int


def sections(message: bytes) -> Iterator[Section]:
    """Decode a message section by section. Raises AmqpError (amqp:decode-error) for anything else."""
    at = 0
    while at < len(message):
        start = at
        value, at = decode(message, at)
        if not isinstance(value, Described) or not isinstance(value.descriptor, int):
            raise AmqpError("amqp:decode-error", "the message contains something other than sections")
        yield Section(int(value.descriptor), value.value, start, at)


def open_batch(message: bytes, message_format: int) -> tuple[list[bytes], str | None]:
    """The events of one transfer, each an encoded message, and the partition key that they share, if any."""
    key: str | None = None
    events: list[bytes] = []
    for section in sections(message):
        if section.code == _MESSAGE_ANNOTATIONS and isinstance(section.value, dict):
            found = section.value.get(PARTITION_KEY)
            key = found if isinstance(found, str) else None
        elif section.code == _DATA and isinstance(section.value, bytes):
            events.append(section.value)
    return (events if message_format == BATCH_FORMAT else [message]), key


@dataclass(frozen=True, slots=True)
class Enqueued:
    """Where and when an event was stored, as the service reports it to consumers."""

    sequence_number: int
    offset: int
    milliseconds: int
    partition_key: str | None


def annotate(message: bytes, place: Enqueued, last: Enqueued | None) -> bytes:
    """The message as a consumer gets it: with the service's annotations, otherwise byte for byte the same.

    With `last`, the delivery annotations describe the newest event of the partition.
    """
    annotations: dict[object, object] = {}
    header, rest = b"", message
    for section in _leading_sections(message):
        if section.code == _HEADER:
            header = message[section.start : section.end]
        elif section.code == _MESSAGE_ANNOTATIONS and isinstance(section.value, dict):
            annotations = section.value
        rest = message[section.end :]
    annotations[_SEQUENCE_NUMBER] = place.sequence_number
    annotations[_OFFSET] = str(place.offset)
    annotations[_ENQUEUED_TIME] = Timestamp(place.milliseconds)
    if place.partition_key is not None:
        annotations[PARTITION_KEY] = place.partition_key
    return header + (_last_enqueued(last) if last else b"") + _section(_MESSAGE_ANNOTATIONS, annotations) + rest


def _leading_sections(message: bytes) -> Iterator[Section]:
    """The header and annotations; they come first, so changing them does not require decoding the body."""
    at = 0
    while message[at : at + 2] == b"\x00\x53" and (code := message[at + 2]) < _PROPERTIES:
        start = at
        value, at = decode(message, at + 3)
        yield Section(code, value, start, at)


def _last_enqueued(last: Enqueued) -> bytes:
    return _section(
        _DELIVERY_ANNOTATIONS,
        {
            Symbol("last_enqueued_sequence_number"): last.sequence_number,
            Symbol("last_enqueued_offset"): str(last.offset),
            Symbol("last_enqueued_time_utc"): Timestamp(last.milliseconds),
            Symbol("runtime_info_retrieval_time_utc"): Timestamp(last.milliseconds),
        },
    )


def _section(code: int, value: object) -> bytes:
    return encode(Described(ULong(code), value))


@dataclass(frozen=True, slots=True)
class Message:
    """A decoded message. `properties` are the fields of its properties section, as in part 3 §3.2.4."""

    properties: list[object] = field(default_factory=list)
    application_properties: dict[object, object] = field(default_factory=dict)
    data: bytes = b""
    value: object = None

    def property(self, at: int) -> object:
        return self.properties[at] if at < len(self.properties) else None

    def text(self, name: str) -> str:
        """A string application property; "" if it is missing or of another type."""
        value = self.application_properties.get(name)
        return value if isinstance(value, str) else ""


MESSAGE_ID: Final = 0
REPLY_TO: Final = 4
CORRELATION_ID: Final = 5
CONTENT_TYPE: Final = 6


def read(message: bytes) -> Message:
    properties: list[object] = []
    application_properties: dict[object, object] = {}
    data: list[bytes] = []
    body: object = None
    for section in sections(message):
        match section.code, section.value:
            case 0x73, list(values):
                properties = values
            case 0x74, dict(values):
                application_properties = values
            case 0x75, bytes(chunk):
                data.append(chunk)
            case 0x77, value:
                body = value
    return Message(properties, application_properties, b"".join(data), body)


def reply(correlation_id: object, application_properties: dict[object, object], body: object) -> bytes:
    """Encode the reply of a request-response node such as `$cbs`."""
    properties = [None, None, None, None, None, correlation_id]
    return (
        _section(_PROPERTIES, properties)
        + _section(_APPLICATION_PROPERTIES, application_properties)
        + _section(_VALUE, body)
    )
