"""Content-encodings: undone piece by piece, over the ends of their parts, and never past a limit."""

import gzip
import zlib
from collections.abc import Callable
from functools import partial

import brotli
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from app.answer.decoding import FAULTS, MAX_DECODED, DecodedTooLarge, decoder

SQUEEZE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": partial(brotli.compress, quality=4),
    "zstd": zstd.compress,
}
READ = 64 * 1024


def undone(encoding: str, data: bytes, size: int = READ) -> bytes:
    decode = decoder(encoding)
    assert decode
    return b"".join(decode(data[at : at + size]) for at in range(0, len(data), size))


@pytest.mark.parametrize("encoding", SQUEEZE)
@given(text=st.binary(max_size=300), size=st.integers(1, 50))
def test_it_is_undone_however_it_is_cut(encoding: str, text: bytes, size: int) -> None:
    """The pieces of a body give its text, wherever they were cut."""
    assert undone(encoding, SQUEEZE[encoding](text), size) == text


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@given(texts=st.lists(st.binary(max_size=40), min_size=1, max_size=5), size=st.integers(1, 50))
def test_one_part_behind_the_other(encoding: str, texts: list[bytes], size: int) -> None:
    """Members of gzip and frames of zstd are one text, wherever the pieces are cut."""
    assert undone(encoding, b"".join(map(SQUEEZE[encoding], texts)), size) == b"".join(texts)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("size", [1, READ])
def test_what_is_behind_the_end_is_passed_over(encoding: str, size: int) -> None:
    """Zeros or words behind the last member are nothing of the text."""
    for behind in (b"\0" * 50, b"and something behind"):
        assert undone(encoding, SQUEEZE[encoding](b"text") + behind, size) == b"text"


@pytest.mark.parametrize("encoding", SQUEEZE)
def test_a_bomb_is_not_let_off(encoding: str) -> None:
    """Bytes that become far more than they are stop at the limit; as much as an answer can be is read."""
    squeeze = SQUEEZE[encoding]
    assert len(undone(encoding, squeeze(bytes(MAX_DECODED - 1)))) == MAX_DECODED - 1
    with pytest.raises(DecodedTooLarge):
        undone(encoding, squeeze(bytes(16 * MAX_DECODED)))


def test_a_window_past_the_limit_is_refused() -> None:
    """Of zstd's windows, which are memory, none is taken that may not be on the wire."""
    options: dict[int, int] = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.compression_level: 3}
    compressor = zstd.ZstdCompressor(options=options)
    with pytest.raises(FAULTS):
        undone("zstd", compressor.compress(b"text") + compressor.flush())
