"""Content-encodings, undone piece by piece for the record. The client gets an answer encoded as it came."""

import zlib
from collections.abc import Callable
from typing import Final, Protocol

import brotli
from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

type Decode = Callable[[bytes], bytes]

MAX_DECODED: Final = 8 * 1024 * 1024
"""What the bytes of one read, at most some 100 KB, may become: a bomb would stall all other streams, or fill memory."""
_GZIP: Final = b"\x1f\x8b"
_ZSTD_WINDOW: Final[dict[int, int]] = {
    DecompressionParameter.window_log_max: 23
}  # 8 MB, all that RFC 9659 allows on the wire


class DecodedTooLarge(Exception):
    """A few bytes became more than is read at once."""


FAULTS: Final = (zlib.error, brotli.error, ZstdError, DecodedTooLarge)
"""What a decoder raises at bytes that are not what the header says, or are too much."""


def decoder(encoding: str | None) -> Decode | None:
    """Undoes the encoding that a content-encoding header names; None for one that cannot be undone here."""
    match (encoding or "identity").strip().lower():
        case "identity":
            return bytes
        case "gzip" | "x-gzip":
            return _Frames(lambda: zlib.decompressobj(16 + zlib.MAX_WBITS), _GZIP).decode
        case "deflate":
            return _Frames(zlib.decompressobj, None).decode
        case "br":
            return _Brotli().decode
        case "zstd":
            return _Frames(lambda: ZstdDecompressor(options=_ZSTD_WINDOW), b"").decode
        case _:
            return None


class _Frame(Protocol):
    """One compressed stream, with an end of its own."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Frames:
    """An encoding whose streams know their end, and may stand one behind the other: gzip's members, zstd's frames."""

    def __init__(self, start: Callable[[], _Frame], magic: bytes | None) -> None:
        """`magic` begins another stream behind the first; with None there is only one.

        What begins otherwise is passed over, as the program gzip does.
        """
        self._start = start
        self._magic = magic
        self._frame = start()
        self._behind = b""

    def decode(self, data: bytes) -> bytes:
        decoded = b""
        data, self._behind = self._behind + data, b""
        while data:
            if self._frame.eof:
                if self._magic is None or not self._magic.startswith(data[: len(self._magic)]):
                    break
                if len(data) < len(self._magic):
                    self._behind = data
                    break
                self._frame = self._start()
            decoded += self._frame.decompress(data, MAX_DECODED - len(decoded))
            if len(decoded) >= MAX_DECODED:
                raise DecodedTooLarge
            data = self._frame.unused_data
        return decoded


class _Brotli:
    def __init__(self) -> None:
        self._stream = brotli.Decompressor()

    def decode(self, data: bytes) -> bytes:
        decoded: bytes = self._stream.process(data, output_buffer_limit=MAX_DECODED)
        if not self._stream.can_accept_more_data():
            raise DecodedTooLarge
        return decoded
