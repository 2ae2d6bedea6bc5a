"""Encodes and decodes the values of AMQP 1.0 (OASIS, part 1: types).

Decoded values keep their wire type (`UInt`, `Symbol`, …), so a decoded value encodes to the same type again.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID


class AmqpError(Exception):
    """An error that ends a link or a connection and is sent to the peer; `condition` is its symbol."""

    def __init__(self, condition: str, description: str) -> None:
        super().__init__(f"{condition}: {description}")
        self.condition = condition
        self.description = description


class Symbol(str):
    __slots__ = ()


class UByte(int):
    pass


class UShort(int):
    pass


class UInt(int):
    pass


class ULong(int):
    pass


class Int(int):
    """A 32-bit int; a plain Python int is an AMQP long."""


class Timestamp(int):
    """Milliseconds since 1970 in UTC."""


@dataclass(frozen=True, slots=True)
class Raw:
    """A scalar of a type that Python lacks (char, decimal, short, …), kept as its bytes."""

    code: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Array:
    """Values of one type; `code` is the constructor of the elements, e.g. 0xB1 (string, 32-bit length)."""

    code: int
    items: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Described:
    descriptor: object
    value: object


def symbols(*names: str) -> Array:
    return Array(0xA3, tuple(Symbol(name) for name in names))


def strings(*texts: str) -> Array:
    return Array(0xB1, texts)


# Constructors whose value has a fixed width (part 1 §1.6), and the type that each one decodes to.
_FIXED: Final[dict[int, tuple[struct.Struct, type[int | float]]]] = {
    0x50: (struct.Struct(">B"), UByte),
    0x52: (struct.Struct(">B"), UInt),
    0x53: (struct.Struct(">B"), ULong),
    0x54: (struct.Struct(">b"), Int),
    0x55: (struct.Struct(">b"), int),
    0x56: (struct.Struct(">?"), bool),
    0x60: (struct.Struct(">H"), UShort),
    0x70: (struct.Struct(">I"), UInt),
    0x71: (struct.Struct(">i"), Int),
    0x80: (struct.Struct(">Q"), ULong),
    0x81: (struct.Struct(">q"), int),
    0x82: (struct.Struct(">d"), float),
    0x83: (struct.Struct(">q"), Timestamp),
}
_CONSTANTS: Final[dict[int, object]] = {0x40: None, 0x41: True, 0x42: False, 0x43: UInt(0), 0x44: ULong(0)}
_RAW_WIDTHS: Final = {0x51: 1, 0x61: 2, 0x72: 4, 0x73: 4, 0x74: 4, 0x84: 8, 0x94: 16}
_LENGTH: Final = struct.Struct(">I")
_LENGTHS: Final = struct.Struct(">II")


def decode(data: bytes, at: int = 0) -> tuple[object, int]:
    """Decode the value that starts at `at`; return it and the position after it.

    Raises AmqpError (amqp:decode-error) if the bytes are truncated or start with an unknown constructor.
    """
    try:
        code = data[at]
        if code == 0:
            descriptor, at = decode(data, at + 1)
            value, at = decode(data, at)
            return Described(descriptor, value), at
        return _decode_as(code, data, at + 1)
    except (struct.error, IndexError, TypeError, ValueError) as error:
        raise AmqpError("amqp:decode-error", f"at byte {at}: {error}") from error


def _decode_as(code: int, data: bytes, at: int) -> tuple[object, int]:
    if code in _CONSTANTS:
        return _CONSTANTS[code], at
    if code in _FIXED:
        packing, kind = _FIXED[code]
        return kind(packing.unpack_from(data, at)[0]), at + packing.size
    if code == 0x45:
        return [], at
    if code == 0x98:
        return UUID(bytes=data[at : at + 16]), at + 16
    start, end, count = _extent(code, data, at)
    if end > len(data):
        raise IndexError("the value is truncated")
    if code in _RAW_WIDTHS:
        return Raw(code, data[start:end]), end
    match code & 0x0F, code >> 4:
        case 0x0, 0xA | 0xB:
            return data[start:end], end
        case 0x1, 0xA | 0xB:
            return data[start:end].decode(), end
        case 0x3, 0xA | 0xB:
            return Symbol(data[start:end], "ascii"), end
        case 0x0, 0xC | 0xD:
            return list(_decode_many(count, data, start)), end
        case 0x1, 0xC | 0xD:
            values = _decode_many(count, data, start)
            return dict(zip(values, values, strict=True)), end
        case 0x0, 0xE | 0xF:
            element, at = data[start], start + 1
            items = []
            for _ in range(count):
                item, at = _decode_as(element, data, at)
                items.append(item)
            return Array(element, tuple(items)), end
    raise AmqpError("amqp:decode-error", f"unknown constructor 0x{code:02x}")


def _extent(code: int, data: bytes, at: int) -> tuple[int, int, int]:
    """Where the content of a value starts and ends, and how many values are in it."""
    if code in _RAW_WIDTHS:
        return at, at + _RAW_WIDTHS[code], 1
    wide = code >> 4 in (0xB, 0xD, 0xF)
    if code < 0xC0:
        start = at + (4 if wide else 1)
        return start, start + (_LENGTH.unpack_from(data, at)[0] if wide else data[at]), 1
    # The size of a list, map or array includes its count.
    if wide:
        size, count = _LENGTHS.unpack_from(data, at)
        return at + 8, at + 4 + size, count
    return at + 2, at + 1 + data[at], data[at + 1]


def _decode_many(count: int, data: bytes, at: int) -> Iterator[object]:
    for _ in range(count):
        value, at = decode(data, at)
        yield value


def encode(value: object) -> bytes:
    """Encode one value. A Python int is a long, a float a double, str a string, bytes binary."""
    out = bytearray()
    _encode(out, value)
    return bytes(out)


def _encode(out: bytearray, value: object) -> None:
    try:
        writer = _WRITERS[type(value)]
    except KeyError:
        raise TypeError(f"AMQP has no type for {type(value).__name__}") from None
    writer(out, value)


def _fixed(wide: int, small: int | None = None) -> Callable[[bytearray, object], None]:
    def write(out: bytearray, value: object) -> None:
        code = small if small is not None and 0 <= int(value) < 256 else wide  # type: ignore[call-overload]
        out.append(code)
        out += _FIXED[code][0].pack(value)

    return write


def _variable(small: int) -> Callable[[bytearray, object], None]:
    def write(out: bytearray, value: object) -> None:
        data = value.encode() if isinstance(value, str) else bytes(value)  # type: ignore[call-overload]
        out += bytes((small, len(data))) if len(data) < 256 else bytes((small | 0x10,)) + _LENGTH.pack(len(data))
        out += data

    return write


def _compound(out: bytearray, small: int, count: int, content: bytes | bytearray) -> None:
    if len(content) < 255 and count < 256:
        out += bytes((small, len(content) + 1, count))
    else:
        out += bytes((small | 0x10,)) + _LENGTHS.pack(len(content) + 4, count)
    out += content


def _write_list(out: bytearray, value: object) -> None:
    assert isinstance(value, list)
    content = bytearray()
    for item in value:
        _encode(content, item)
    _compound(out, 0xC0, len(value), content)


def _write_map(out: bytearray, value: object) -> None:
    assert isinstance(value, dict)
    content = bytearray()
    for key, item in value.items():
        _encode(content, key)
        _encode(content, item)
    _compound(out, 0xC1, 2 * len(value), content)


def _write_array(out: bytearray, value: object) -> None:
    assert isinstance(value, Array)
    content = bytearray((value.code,))
    for item in value.items:
        if value.code in _FIXED:
            content += _FIXED[value.code][0].pack(item)
            continue
        data = item.encode() if isinstance(item, str) else item
        if not isinstance(data, bytes) or value.code >> 4 not in (0xA, 0xB):
            raise TypeError(f"no arrays of 0x{value.code:02x}")
        content += (_LENGTH.pack(len(data)) if value.code & 0x10 else bytes((len(data),))) + data
    _compound(out, 0xE0, len(value.items), content)


def _write_described(out: bytearray, value: object) -> None:
    assert isinstance(value, Described)
    out.append(0)
    _encode(out, value.descriptor)
    _encode(out, value.value)


def _write_raw(out: bytearray, value: object) -> None:
    assert isinstance(value, Raw)
    out.append(value.code)
    out += value.data


_WRITERS: Final[Mapping[type, Callable[[bytearray, object], None]]] = {
    type(None): lambda out, _: out.append(0x40),
    bool: lambda out, value: out.append(0x41 if value else 0x42),
    UByte: _fixed(0x50),
    UShort: _fixed(0x60),
    UInt: _fixed(0x70, 0x52),
    ULong: _fixed(0x80, 0x53),
    Int: _fixed(0x71),
    int: _fixed(0x81),
    float: _fixed(0x82),
    Timestamp: _fixed(0x83),
    UUID: lambda out, value: out.extend(b"\x98" + value.bytes),  # type: ignore[attr-defined]
    bytes: _variable(0xA0),
    str: _variable(0xA1),
    Symbol: _variable(0xA3),
    Raw: _write_raw,
    list: _write_list,
    dict: _write_map,
    Array: _write_array,
    Described: _write_described,
}
