"""Content-encodings: decoded chunk by chunk, across concatenated streams, and up to a limit."""

import gzip
import zlib
from collections.abc import Callable
from functools import partial

import brotli
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from app.operations.decoding import FAULTS, MAX_DECODED, DecodedTooLarge, decoder

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "X-GZIP ": gzip.compress,
    "deflate": zlib.compress,
    "br": partial(brotli.compress, quality=4),
    "zstd": zstd.compress,
}
READ = 64 * 1024


def decoded(encoding: str, data: bytes, size: int = READ) -> bytes:
    decode = decoder(encoding)
    assert decode
    return b"".join(decode(data[at : at + size]) for at in range(0, len(data), size))


@pytest.mark.parametrize("encoding", COMPRESS)
@given(texts=st.lists(st.binary(max_size=300), min_size=1, max_size=5), size=st.integers(1, 50))
def test_chunks_of_any_size_are_decoded(encoding: str, texts: list[bytes], size: int) -> None:
    """A body gives its text, however it is split; gzip members and zstd frames are joined."""
    if encoding in ("deflate", "br"):
        del texts[1:]
    assert decoded(encoding, b"".join(map(COMPRESS[encoding], texts)), size) == b"".join(texts)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("size", [1, READ])
def test_trailing_bytes_are_ignored(encoding: str, size: int) -> None:
    """Zeros or other bytes after the last member are not part of the text."""
    for trailing in (b"\0" * 50, b"and more bytes"):
        assert decoded(encoding, COMPRESS[encoding](b"text") + trailing, size) == b"text"


@pytest.mark.parametrize("encoding", COMPRESS)
def test_a_decompression_bomb_is_stopped(encoding: str) -> None:
    """Decoding stops at the limit, and works up to it."""
    compress = COMPRESS[encoding]
    assert len(decoded(encoding, compress(bytes(MAX_DECODED - 1)))) == MAX_DECODED - 1
    with pytest.raises(DecodedTooLarge):
        decoded(encoding, compress(bytes(16 * MAX_DECODED)))


def test_a_zstd_window_over_the_limit_is_rejected() -> None:
    """Windows take memory: those beyond what RFC 9659 allows are rejected."""
    options: dict[int, int] = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.compression_level: 3}
    compressor = zstd.ZstdCompressor(options=options)
    with pytest.raises(FAULTS):
        decoded("zstd", compressor.compress(b"text") + compressor.flush())


@given(text=st.binary(max_size=2000), size=st.integers(1, 50), level=st.integers(0, 9))
def test_bare_deflate_is_decoded(text: bytes, size: int, level: int) -> None:
    """Without the zlib wrapper that the standard asks for, as many servers send it."""
    assert decoded("deflate", zlib.compress(text, level, wbits=-zlib.MAX_WBITS), size) == text
