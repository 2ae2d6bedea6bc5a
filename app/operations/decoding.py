"""Content-encodings of bodies, decoded chunk by chunk for the record. What passes stays as it was encoded."""

import zlib
from collections.abc import Callable
from typing import Final, Protocol

import brotli
from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

type Decode = Callable[[bytes], bytes]

MAX_DECODED: Final = 8 * 1024 * 1024
"""Limit on the output of one read (about 100 KB at most): a bomb would stall all other streams or fill memory."""
_GZIP: Final = b"\x1f\x8b"
_ZSTD_WINDOW: Final[dict[int, int]] = {DecompressionParameter.window_log_max: 23}  # 8 MB, the most that RFC 9659 allows


class DecodedTooLarge(Exception):
    """One read decodes to MAX_DECODED bytes or more."""


FAULTS: Final = (zlib.error, brotli.error, ZstdError, DecodedTooLarge)
"""What a decoder raises for bytes that do not match the header or exceed the limit."""


def decoder(encoding: str | None) -> Decode | None:
    """A decoder for a content-encoding header; None for an unsupported encoding."""
    match (encoding or "identity").strip().lower():
        case "identity":
            return bytes
        case "gzip" | "x-gzip":
            return _Frames(lambda: zlib.decompressobj(16 + zlib.MAX_WBITS), _GZIP).decode
        case "deflate":
            return _Deflate().decode
        case "br":
            return _Brotli().decode
        case "zstd":
            return _Frames(lambda: ZstdDecompressor(options=_ZSTD_WINDOW), b"").decode
        case _:
            return None


class _Frame(Protocol):
    """One compressed stream that marks its own end."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Frames:
    """An encoding whose streams mark their end and can be concatenated: gzip members, zstd frames."""

    def __init__(self, start: Callable[[], _Frame], magic: bytes | None) -> None:
        """`magic` marks the start of a further stream; with None there is only one.

        Other trailing bytes are ignored, as gzip(1) does.
        """
        self._start = start
        self._magic = magic
        self._frame = start()
        self._pending = b""

    def decode(self, data: bytes) -> bytes:
        decoded = b""
        data, self._pending = self._pending + data, b""
        while data:
            if self._frame.eof:
                if self._magic is None or not self._magic.startswith(data[: len(self._magic)]):
                    break
                if len(data) < len(self._magic):
                    self._pending = data
                    break
                self._frame = self._start()
            decoded += self._frame.decompress(data, MAX_DECODED - len(decoded))
            if len(decoded) >= MAX_DECODED:
                raise DecodedTooLarge
            data = self._frame.unused_data
        return decoded


class _Deflate:
    """Deflate in a zlib stream (RFC 1950), or bare, as some servers send it (RFC 9110 §8.4.1.2)."""

    def __init__(self) -> None:
        self._begun = b""
        self._frames: _Frames | None = None

    def decode(self, data: bytes) -> bytes:
        if self._frames is None:
            data = self._begun + data
            if len(data) < 2:
                self._begun = data
                return b""
            wrapped = data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:2]) % 31 == 0
            self._frames = _Frames(lambda: zlib.decompressobj(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS), None)
        return self._frames.decode(data)


class _Brotli:
    def __init__(self) -> None:
        self._stream = brotli.Decompressor()

    def decode(self, data: bytes) -> bytes:
        decoded: bytes = self._stream.process(data, output_buffer_limit=MAX_DECODED)
        if not self._stream.can_accept_more_data():
            raise DecodedTooLarge
        return decoded
