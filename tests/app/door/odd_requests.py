"""Requests as a client with malice, or with faults, writes them: a conversation is the bytes of one connection."""

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.kit.proxy import KEY
from tests.kit.wire import CHAT

NUMBER = b"########"
"""Stands for the number of the example, in as many digits: a length stays true."""
FILES = "/openai/files?api-version=2024-10-21"
TARGETS = [f"{path}&n=".encode() + NUMBER + b"-" for path in (FILES, FILES, CHAT)]
KEYED = b"api-key: " + KEY.encode()
HIDDEN = b"GET " + TARGETS[0] + b"hidden HTTP/1.1\r\nhost: a\r\n" + KEYED + b"\r\n\r\n"
"""A request that is none, since it is part of a body."""


@dataclass(frozen=True)
class Conversation:
    """What is sent on one connection."""

    sent: bytes
    cuts: tuple[int, ...]
    """Where a write ends, in thousandths of the bytes."""
    read_size: int
    """How many bytes the proxy takes at once."""


METHODS = st.sampled_from([b"POST", b"POST", b"GET", b"PUT", b"DELETE", b"PATCH", b"OPTIONS"])
KEYS = st.sampled_from(
    [[KEYED]] * 8 + [[], [b"api-key: wrong"], [b"api-key: wrong", KEYED], [KEYED, b"api-key: wrong"]]
)
CODED = st.sampled_from([b"transfer-encoding: chunked", b"Transfer-Encoding:Chunked", b"TRANSFER-ENCODING: CHUNKED "])
BODIES = st.sampled_from([b"{}", b'{"n":1}', b"", HIDDEN, b"\r\n" + HIDDEN, b"0\r\n\r\n" + HIDDEN]) | st.binary(
    max_size=40
)
FIELDS = st.sampled_from(
    [
        *(b"x-a: b", b"X-A: B", b"x-a:b", b"x-a:\t b \t", b"x-empty:", b"x-obs: \xe9\xff", b"x-a: b, c", b"x_a: c"),
        *(b"Connection: keep-alive", b"connection: x-a", b"connection: closed", b"connection: transfer-encoding"),
        *(b"connection: upgrade", b"upgrade: h2c", b"connection: upgrade\r\nupgrade: h2c", b"upgrade: websocket"),
        *(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk", b"accept: */*"),
        *(b"expect: 100-continue", b"Expect: 100-Continue", b"expect: magic", b"te: trailers", b"trailer: x-late"),
        *(b"connection: content-length, api-key", b"proxy-connection: close", b"keep-alive: timeout=1"),
        *(b"x-http-method-override: PUT", b"content-encoding: identity", b"range: bytes=0-1"),
    ]
)
TRAILERS = st.sampled_from(
    [
        *(b"x-late: b", b"X-Late: api-key", KEYED, b"connection: close", b"Connection: upgrade", b"upgrade: h2c"),
        *(b"connection: keep-alive", b"expect: 100-continue", b"content-encoding: gzip", b"host: b"),
    ]
)

ODD: dict[str, list[Any]] = {
    "method": [b"post", b"BREW", b"CONNECT", b"TRACE", b"G@T", b"", b"PRI", b"POST\t", b"\x16\x03"],
    "version": [
        b"HTTP/1.0",
        b"HTTP/1.2",
        b"HTTP/2.0",
        b"HTTP/0.9",
        b"http/1.1",
        b"",
        b"HTTP/1.1 ",
        b"HTTP/1.1\t",
        b"HTTP/11",
    ],
    "space": [b"  ", b"\t", b"\x0b", b"\r", b" \x00"],
    "before": [b"\r\n", b"\r\n\r\n", b"\n", b"\x00", b" ", b"\r"],
    "host": [[], [b"host: a", b"host: b"], [b"Host: a", b"host: a"], [b"host:"], [b"host : a"]],
    "line end": [b"\n", b"\r", b"\n\r", b"\r\r\n", b"\r\n ", b"", b"\x00\r\n"],
    "close": [
        b"connection: close",
        b"connection: , close ,",
        b"connection: upgrade, close\r\nupgrade: h2c",
        b"Connection:\tClose",
    ],
    "field": [
        *(
            b"x-a : b",
            b" x-a: b",
            b"\tfolded",
            b"x-a: b\r\n folded",
            b"x-a",
            b": b",
            b"x a: b",
            b"x-\xe9: b",
            b"x-a: b\x00c",
        ),
        *(
            b"x-a: b\rc",
            b"x-a: b\nx-b: c",
            b"x-a: b\x0bc",
            b"x-a: b\x7f",
            b"(x): b",
            b"x-a\x00: b",
            b"\xef\xbb\xbfx-a: b",
        ),
        *(b"content-length: 0", b"content-length: 4", b"transfer-encoding: chunked", b"Transfer_Encoding: chunked"),
        *(b"transfer-encoding : chunked", b"transfer-encoding:\x0bchunked", b"transfer-encoding: identity"),
        *(b"content-length : 9", b"content-length: 4\r\n 0", b"\x00content-length: 4", b"content_length: 4"),
    ],
    "length": [
        b"+%d",
        b"-%d",
        b"0x%d",
        b"%d,%d",
        b"%d, %d",
        b"%d ",
        b"00%d",
        b"%d\x00",
        b"",
        b"%d.0",
        b"1%d",
        b"%d\r\ncontent-length: %d",
    ],
    "size off": [-9, -2, -1, 1, 3, 400],
    "coding": [
        *(
            b"gzip",
            b"identity",
            b"xchunked",
            b"chunkedx",
            b"chunked, gzip",
            b"chunked, chunked",
            b"gzip, chunked",
            b"\tchunked",
        ),
        *(
            b"chunked, identity",
            b"identity, chunked",
            b"",
            b"chunked;a=b",
            b"chunked,",
            b",chunked",
            b'"chunked"',
        ),
        *(b"chunked\r\ntransfer-encoding: gzip", b"gzip\r\ntransfer-encoding: chunked", b"chun\x00ked", b"chunked\x0b"),
        *(b"chunked\r\ntransfer-encoding: chunked", b"chunked\r\ncontent-length: 2", b"gzip\r\ncontent-length: 2"),
    ],
    "extension": [
        b";a=b",
        b";a",
        b';a="b;c"',
        b" ;a",
        b";",
        b";a=\n",
        b";a\r",
        b" ",
        b"\t",
        b";\x00",
        b"_",
        b"h",
        b'"',
    ],
    "chunk size": [
        b"-%x",
        b"+%x",
        b"0x%x",
        b"%x0",
        b"1%x",
        b" %x",
        b"",
        b"000%X",
        b"%x\r",
        b"0" * 20 + b"%x",
        b"f" * 17,
    ],
    "chunk end": [b"", b"\n", b"\r", b"ab\r\n", b"\r\n\r\n", b"\n\r\n"],
    "last chunk": [b"00\r\n", b"0;a=b\r\n", b"0\n", b"", b"0", b"\r\n", b"0 \r\n", b"-0\r\n"],
    "trailer": [
        *(b"x-late: b\r\n folded", b"x-late : b", b"x-late", b"x-late: b\nx: c", b"x-late: \x00"),
        *(b"content-length: 5", b"transfer-encoding: chunked", b"x-late: b\r", b" x-late: b", b"x-late: b\n\r\n"),
    ],
}
"""What can be odd about a request; at most one thing in each, or a fault would hide all that comes behind it."""
CHUNKS = {"coding", "extension", "chunk size", "chunk end", "last chunk", "trailer"}
FAULTS = st.sampled_from([""] * len(ODD) * 2 + [*ODD, *CHUNKS])


@dataclass
class Pen:
    """Writes one request, with one oddity or none."""

    draw: st.DrawFn
    fault: str

    def odd(self, kind: str, plain: Any) -> Any:
        return self.draw(st.sampled_from(ODD[kind])) if kind == self.fault else plain

    def chunks(self, body: bytes) -> bytes:
        written = []
        spoilt = self.draw(st.integers(0, 1)) if self.fault in CHUNKS else 0
        size = self.draw(st.sampled_from([1000, 1000, 1, 7])) if len(body) < 50 else 1000
        for number, at in enumerate(range(0, len(body), size)):
            pen = self if number == spoilt else Pen(self.draw, "")
            data = body[at : at + size]
            told = pen.odd("chunk size", b"%x")
            written += [told % len(data) if b"%" in told else told, pen.odd("extension", b""), b"\r\n"]
            written += [data, pen.odd("chunk end", b"\r\n")]
        trailers = self.draw(st.lists(TRAILERS, max_size=2)) if self.draw(st.booleans()) else []
        trailers += [self.odd("trailer", b"")] if self.fault == "trailer" else []
        return b"".join([*written, self.odd("last chunk", b"0\r\n"), *(line + b"\r\n" for line in trailers), b"\r\n"])

    def framed(self) -> tuple[list[bytes], bytes]:
        """The header lines that say where a body ends, and the body as it is sent."""
        body = self.draw(BODIES)
        kind = self.draw(st.sampled_from(["none", "length", "chunks"]))
        if self.fault == "coding":
            return [b"Transfer-Encoding: " + self.odd("coding", b"")], self.chunks(body)
        if (kind == "length" and self.fault not in CHUNKS) or self.fault in ("length", "size off"):
            size = max(0, len(body) + self.odd("size off", 0))
            return [b"Content-Length: " + self.odd("length", b"%d").replace(b"%d", b"%d" % size)], body
        if kind == "chunks" or self.fault in CHUNKS:
            return [self.draw(CODED)], self.chunks(body)
        return [], b""

    def request(self, number: int) -> bytes:
        space = self.odd("space", b" ")
        target = self.draw(st.sampled_from([b"", b"", b"", b"http://b:1"])) + self.draw(st.sampled_from(TARGETS))
        words = [
            self.odd("method", b"") or self.draw(METHODS),
            target + b"%d" % number,
            self.odd("version", b"HTTP/1.1"),
        ]
        framing, body = self.framed()
        fields = [*self.odd("host", [b"host: a"]), *self.draw(KEYS), *framing, *self.draw(st.lists(FIELDS, max_size=3))]
        fields += [self.odd(kind, b"") for kind in ("field", "close") if kind == self.fault]
        lines = [space.join(words), *self.draw(st.permutations(fields)), b""]
        ends = [b"\r\n"] * len(lines)
        if self.fault == "line end":
            ends[self.draw(st.integers(0, len(lines) - 1))] = self.odd("line end", b"")
        head = b"".join([line + end for line, end in zip(lines, ends, strict=True)])
        return self.odd("before", b"") + head + body


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """Up to four requests, one behind the other; sometimes the client falls silent before their end."""
    count = draw(st.integers(1, 4))
    sent = b"".join([Pen(draw, draw(FAULTS)).request(number) for number in range(count)])
    if draw(st.integers(0, 19)) == 19:
        sent = sent[: draw(st.integers(0, len(sent)))]
    cuts = draw(st.lists(st.integers(0, 1000), max_size=4))
    return Conversation(sent, tuple(sorted(cuts)), draw(st.sampled_from([1, 2, 7, 50, 65536])))
