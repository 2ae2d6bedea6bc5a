"""The AMQP codec, without a socket, against itself, the specification and the codec of azure-eventhub."""

from typing import Any
from uuid import UUID

import pytest
from azure.eventhub._pyamqp import message as peer_message
from azure.eventhub._pyamqp._decode import decode_frame
from azure.eventhub._pyamqp._encode import encode_payload
from hypothesis import given
from hypothesis import strategies as st

from dev.event_hubs import amqp
from dev.event_hubs import message as event_hubs_message
from dev.event_hubs.amqp_values import (
    AmqpError,
    Array,
    Described,
    Int,
    Raw,
    Symbol,
    Timestamp,
    UByte,
    UInt,
    ULong,
    UShort,
    decode,
    encode,
    strings,
    symbols,
)


def _whole(kind: type[int], bits: int, *, signed: bool = False) -> st.SearchStrategy[int]:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return st.integers(low, high).map(kind)


_ASCII = st.text(st.characters(max_codepoint=127), max_size=300)
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    _whole(UByte, 8),
    _whole(UShort, 16),
    _whole(UInt, 32),
    _whole(ULong, 64),
    _whole(Int, 32, signed=True),
    _whole(int, 64, signed=True),
    _whole(Timestamp, 64, signed=True),
    st.floats(allow_nan=False),
    st.text(max_size=300),
    st.binary(max_size=300),
    _ASCII.map(Symbol),
    st.uuids(),
    st.binary(min_size=4, max_size=4).map(lambda data: Raw(0x73, data)),
    st.lists(st.text(max_size=100)).map(lambda items: strings(*items) if items else symbols("x")),
    st.lists(_whole(int, 64, signed=True), min_size=1).map(lambda items: Array(0x81, tuple(items))),
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner),
        st.dictionaries(st.text() | _ASCII.map(Symbol), inner),
        st.builds(Described, _whole(ULong, 64), inner),
    ),
    max_leaves=20,
)


def _typed(value: object) -> object:
    """Pair each part of the value with its type, since 1 == UInt(1) == True."""
    match value:
        case list():
            return [_typed(item) for item in value]
        case dict():
            return [(_typed(key), _typed(item)) for key, item in value.items()]
        case Described():
            return _typed(value.descriptor), _typed(value.value)
        case Array():
            return value.code, [_typed(item) for item in value.items]
    return type(value), value


@given(_VALUES)
def test_values_round_trip(value: object) -> None:
    """An encoded value decodes to the same value and AMQP type, and to the last byte."""
    data = encode(value)
    decoded, end = decode(data)
    assert _typed(decoded) == _typed(value)
    assert end == len(data)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("40", None),
        ("41", True),
        ("56 00", False),
        ("43", UInt(0)),
        ("52 05", UInt(5)),
        ("70 00000100", UInt(256)),
        ("44", ULong(0)),
        ("55 ff", -1),
        ("83 00000000000003e8", Timestamp(1000)),
        ("98 00112233445566778899aabbccddeeff", UUID("00112233-4455-6677-8899-aabbccddeeff")),
        ("a1 03 616263", "abc"),
        ("b3 00000003 616263", Symbol("abc")),
        ("45", []),
        ("c0 03 02 41 42", [True, False]),
        ("d1 00000009 00000002 a1 01 61 54 01", {"a": Int(1)}),
        ("e0 05 02 a3 01 61 00", symbols("a", "")),
        ("00 53 24 45", Described(ULong(0x24), [])),
    ],
)
def test_decode_reads_each_constructor(data: str, value: object) -> None:
    """Each constructor of part 1 §1.6 is decoded, including the short forms."""
    decoded, _ = decode(bytes.fromhex(data))
    assert _typed(decoded) == _typed(value)


@given(_VALUES, st.data())
def test_truncated_values_are_decode_errors(value: object, data: st.DataObject) -> None:
    """A truncated value raises amqp:decode-error; it is never a wrong value or another exception."""
    whole = encode(value)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(AmqpError, match="amqp:decode-error"):
        decode(whole[:cut])


@given(st.lists(st.binary(max_size=600), max_size=6), st.data())
def test_frames_do_not_depend_on_how_the_stream_is_split(payloads: list[bytes], data: st.DataObject) -> None:
    """However the bytes are split, the parser yields the same header, frames and heartbeats."""
    stream = amqp.AMQP_HEADER + b"".join(
        amqp.frame(number, amqp.Transfer(handle=number), payload) + amqp.HEARTBEAT
        for number, payload in enumerate(payloads)
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    parser = amqp.FrameParser(1024)
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    first, *frames = [item for piece in pieces for item in parser.feed(piece)]
    assert first == amqp.ProtocolHeader(amqp.AMQP_HEADER)
    assert [frame.payload for frame in frames[::2] if isinstance(frame, amqp.Frame)] == payloads
    assert frames[1::2] == [amqp.Frame(0, None)] * len(payloads)


@pytest.mark.parametrize("stream", ["GET / HTTP/1.1\r\n", "\0\0\0\7\2\0\0\0", "\0\0\0\x09\1\0\0\0\0"])
def test_bytes_that_are_not_amqp_are_framing_errors(stream: str) -> None:
    """Bytes that cannot be AMQP raise a framing error immediately; the parser does not wait for the rest of a frame."""
    with pytest.raises(AmqpError, match="framing-error"):
        list(amqp.FrameParser(65536).feed(stream.encode()))


@pytest.mark.parametrize(
    ("performative", "count"),
    [
        (amqp.Open("broker", max_frame_size=65536), 10),
        (amqp.Begin(0, 0, 5000, 5000), 8),
        (amqp.Attach("link", 1, True), 14),
        (amqp.Flow(0, 5000, 0, 5000), 11),
        (amqp.Transfer(1, 0, b"tag", 0, True), 12),
        (amqp.Disposition(True, 0, 0, True, amqp.accepted()), 6),
        (amqp.Detach(1, True, amqp.error_value("amqp:not-found", "gone")), 3),
    ],
)
def test_every_field_is_written(performative: amqp.Performative, count: int) -> None:
    """Trailing nulls are written, since azure-eventhub reads fields by position (and counts a payload)."""
    code, fields = decode_frame(memoryview(performative.encode()))
    assert (code, len(fields)) == (performative.CODE, count)


def _event(body: bytes, **parts: Any) -> bytes:
    out = bytearray()
    encode_payload(out, peer_message.Message(data=[body], **parts))
    return bytes(out)


def test_a_batch_is_unpacked_into_its_events() -> None:
    """The events of a batch are unpacked byte for byte, with their common partition key."""
    events = [_event(b"one"), _event(b"two" * 200, application_properties={"n": 1})]
    out = bytearray()
    encode_payload(out, peer_message.BatchMessage(message_annotations={b"x-opt-partition-key": "k"}, data=events))
    assert event_hubs_message.open_batch(bytes(out), event_hubs_message.BATCH_FORMAT) == (events, "k")


def test_annotations_are_added_to_those_of_the_sender() -> None:
    """A consumer gets the service's and the sender's annotations, and the rest unchanged."""
    event = _event(
        b"body",
        header=peer_message.Header(durable=True),
        message_annotations={b"mine": 7},
        properties=peer_message.Properties(content_type="application/json"),
        application_properties={"type": "completion"},
    )
    place = event_hubs_message.Enqueued(sequence_number=3, offset=120, milliseconds=1000, partition_key="k")
    annotated = event_hubs_message.annotate(event, place, None)
    before, after = (list(event_hubs_message.sections(message)) for message in (event, annotated))
    assert [section.code for section in after] == [0x70, 0x72, 0x73, 0x74, 0x75]
    assert after[1].value == {
        "mine": 7,
        "x-opt-sequence-number": 3,
        "x-opt-offset": "120",
        "x-opt-enqueued-time": 1000,
        "x-opt-partition-key": "k",
    }
    assert [annotated[s.start : s.end] for s in after[2:]] == [event[s.start : s.end] for s in before[2:]]
