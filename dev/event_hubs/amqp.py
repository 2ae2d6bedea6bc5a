"""The performatives and frames of AMQP 1.0 (OASIS, parts 2 and 5), and a sans-I/O parser of frames."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Annotated, ClassVar, Final, Self

from dev.event_hubs.amqp_values import AmqpError, Array, Described, Symbol, UByte, UInt, ULong, UShort, decode, encode

AMQP_HEADER: Final = b"AMQP\x00\x01\x00\x00"
SASL_HEADER: Final = b"AMQP\x03\x01\x00\x00"
HEARTBEAT: Final = b"\x00\x00\x00\x08\x02\x00\x00\x00"

_AMQP_FRAME: Final = 0
_SASL_FRAME: Final = 1

U8 = Annotated[int | None, UByte]
U16 = Annotated[int | None, UShort]
U32 = Annotated[int | None, UInt]
U64 = Annotated[int | None, ULong]
Name = Annotated[str | None, Symbol]
Fields = dict[object, object] | None


@dataclass(slots=True)
class Performative:
    """A described list. Every field is written, even trailing nulls: azure-eventhub reads fields by position."""

    CODE: ClassVar[int] = 0
    FRAME: ClassVar[int] = _AMQP_FRAME

    @classmethod
    def from_list(cls, values: list[object]) -> Self:
        return cls(*values[: len(fields(cls))])

    def encode(self) -> bytes:
        return encode(Described(ULong(self.CODE), self.to_list()))

    def to_list(self) -> list[object]:
        values: list[object] = []
        for field in fields(self):
            value = getattr(self, field.name)
            kind = getattr(field.type, "__metadata__", None)
            values.append(kind[0](value) if kind and value is not None else value)
        return values


@dataclass(slots=True)
class SaslMechanisms(Performative):
    CODE = 0x40
    FRAME = _SASL_FRAME
    mechanisms: Array | None = None


@dataclass(slots=True)
class SaslInit(Performative):
    CODE = 0x41
    FRAME = _SASL_FRAME
    mechanism: Name = None
    initial_response: bytes | None = None
    hostname: str | None = None


@dataclass(slots=True)
class SaslOutcome(Performative):
    CODE = 0x44
    FRAME = _SASL_FRAME
    code: U8 = 0
    additional_data: bytes | None = None


@dataclass(slots=True)
class Open(Performative):
    CODE = 0x10
    container_id: str | None = None
    hostname: str | None = None
    max_frame_size: U32 = None
    channel_max: U16 = None
    idle_timeout: U32 = None  # milliseconds
    outgoing_locales: object = None
    incoming_locales: object = None
    offered_capabilities: object = None
    desired_capabilities: object = None
    properties: Fields = None


@dataclass(slots=True)
class Begin(Performative):
    CODE = 0x11
    remote_channel: U16 = None
    next_outgoing_id: U32 = None
    incoming_window: U32 = None
    outgoing_window: U32 = None
    handle_max: U32 = None
    offered_capabilities: object = None
    desired_capabilities: object = None
    properties: Fields = None


@dataclass(slots=True)
class Attach(Performative):
    """`role` is False for the sending side, True for the receiving side of the link."""

    CODE = 0x12
    name: str | None = None
    handle: U32 = None
    role: bool | None = None
    snd_settle_mode: U8 = None
    rcv_settle_mode: U8 = None
    source: Described | None = None
    target: Described | None = None
    unsettled: Fields = None
    incomplete_unsettled: bool | None = None
    initial_delivery_count: U32 = None
    max_message_size: U64 = None
    offered_capabilities: object = None
    desired_capabilities: object = None
    properties: Fields = None


@dataclass(slots=True)
class Flow(Performative):
    CODE = 0x13
    next_incoming_id: U32 = None
    incoming_window: U32 = None
    next_outgoing_id: U32 = None
    outgoing_window: U32 = None
    handle: U32 = None
    delivery_count: U32 = None
    link_credit: U32 = None
    available: U32 = None
    drain: bool | None = None
    echo: bool | None = None
    properties: Fields = None


@dataclass(slots=True)
class Transfer(Performative):
    CODE = 0x14
    handle: U32 = None
    delivery_id: U32 = None
    delivery_tag: bytes | None = None
    message_format: U32 = None
    settled: bool | None = None
    more: bool | None = None
    rcv_settle_mode: U8 = None
    state: Described | None = None
    resume: bool | None = None
    aborted: bool | None = None
    batchable: bool | None = None


@dataclass(slots=True)
class Disposition(Performative):
    CODE = 0x15
    role: bool | None = None
    first: U32 = None
    last: U32 = None
    settled: bool | None = None
    state: Described | None = None
    batchable: bool | None = None


@dataclass(slots=True)
class Detach(Performative):
    CODE = 0x16
    handle: U32 = None
    closed: bool | None = None
    error: Described | None = None


@dataclass(slots=True)
class End(Performative):
    CODE = 0x17
    error: Described | None = None


@dataclass(slots=True)
class Close(Performative):
    CODE = 0x18
    error: Described | None = None


_PERFORMATIVES: Final[dict[int, type[Performative]]] = {
    kind.CODE: kind
    for kind in (
        SaslMechanisms,
        SaslInit,
        SaslOutcome,
        Open,
        Begin,
        Attach,
        Flow,
        Transfer,
        Disposition,
        Detach,
        End,
        Close,
    )
}


def error_value(condition: str, description: str) -> Described:
    """The `error` type; its info map is written even when empty, see Performative."""
    return Described(ULong(0x1D), [Symbol(condition), description, {}])


def accepted() -> Described:
    return Described(ULong(0x24), [])


def rejected(condition: str, description: str) -> Described:
    return Described(ULong(0x25), [error_value(condition, description)])


@dataclass(frozen=True, slots=True)
class ProtocolHeader:
    """The eight bytes that start each layer of a connection: AMQP_HEADER or SASL_HEADER."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame; an empty one (a heartbeat) has no performative. The payload follows a transfer."""

    channel: int
    performative: Performative | None
    payload: bytes = b""


_HEADER: Final = struct.Struct(">IBBH")


def frame(channel: int, performative: Performative, payload: bytes = b"") -> bytes:
    """Encode one frame."""
    body = performative.encode()
    return _HEADER.pack(8 + len(body) + len(payload), 2, performative.FRAME, channel) + body + payload


class FrameParser:
    """Splits a byte stream into protocol headers and frames; an incomplete frame waits for the next feed."""

    def __init__(self, max_frame_size: int) -> None:
        self._max_frame_size = max_frame_size
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame | ProtocolHeader]:
        """Take the next bytes and yield the frames and headers that they complete.

        Raises AmqpError (amqp:connection:framing-error, amqp:decode-error) for bytes that are not AMQP.
        """
        self._rest += data
        at = 0
        try:
            while len(self._rest) - at >= 8:
                size, offset, _, channel = _HEADER.unpack_from(self._rest, at)
                if self._rest.startswith(b"AMQP", at):
                    yield ProtocolHeader(bytes(self._rest[at : (at := at + 8)]))
                    continue
                if not 8 <= size <= self._max_frame_size or offset < 2:
                    raise AmqpError("amqp:connection:framing-error", f"a frame of {size} bytes")
                if len(self._rest) - at < size:
                    break
                body = bytes(self._rest[at + 4 * offset : at + size])
                at += size
                yield _decode_frame(channel, body)
        finally:
            del self._rest[:at]


def _decode_frame(channel: int, body: bytes) -> Frame:
    if not body:
        return Frame(channel, None)
    value, end = decode(body)
    match value:
        case Described(int(code), list(values)) if code in _PERFORMATIVES:
            return Frame(channel, _PERFORMATIVES[code].from_list(values), body[end:])
    raise AmqpError("amqp:decode-error", "the frame holds no known performative")
