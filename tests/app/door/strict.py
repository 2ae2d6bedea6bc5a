"""A strict reading of what a client sends on a connection, by RFC 9112 alone: which requests there are in it."""

import re
from dataclasses import dataclass, field
from enum import Enum

type Fields = list[tuple[bytes, bytes]]

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rb"(%b) +([!-~]+) +HTTP/1\.([01])" % TOKEN)
"""Several spaces are allowed to be read as one (RFC 9112 §3)."""
_FIELD_LINE = re.compile(rb"(%b):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*" % TOKEN)
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]+)([ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?)")
_PLAIN_METHODS = {b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"}


class Malformed(Exception):
    """No server may take this for a request."""


class Incomplete(Exception):
    """There is more to come."""


class End(Enum):
    """Why a reading ended."""

    BYTES = "with the last request"
    CLOSE = "with a request that closes the connection"
    INCOMPLETE = "within a request"
    MALFORMED = "with what is no request"


@dataclass
class Request:
    """One request."""

    method: bytes
    target: bytes
    old: bool
    """Of HTTP/1.0."""
    fields: Fields
    """Those of the head, in lower case."""
    body: bytes = b""
    whole: bool = False

    def values(self, name: bytes) -> list[bytes]:
        return [value for known, value in self.fields if known == name]

    @property
    def closes(self) -> bool:
        """Whether none may follow; a server may keep no connection of HTTP/1.0."""
        tokens = b",".join(self.values(b"connection")).lower().split(b",")
        return self.old or b"close" in [token.strip(b" \t") for token in tokens]


@dataclass
class Reading:
    """What is in the bytes."""

    requests: list[Request] = field(default_factory=list)
    """Whose heads are in order. Only the last may be incomplete, or malformed in its body."""
    end: End = End.BYTES
    doubtful: bool = False
    """Whether a server may refuse one of these although RFC 9112 allows it."""

    @property
    def whole(self) -> list[Request]:
        return [request for request in self.requests if request.whole]


def read(sent: bytes) -> Reading:
    """Read everything that a client has sent on one connection."""
    reading, reader = Reading(), _Reader(sent)
    try:
        while not reader.at_end():
            request = reader.head()
            framing = _framing(request)
            reading.requests.append(request)
            reading.doubtful |= (
                not request.values(b"host")
                or request.method not in _PLAIN_METHODS
                or bool(request.values(b"proxy-connection"))
            )
            request.body = reader.chunks() if framing is None else reader.take(framing)
            request.whole = True
            if request.closes:
                reading.end = End.CLOSE
                reading.doubtful |= not reader.at_end()  # a reset for what follows may take the response away
                break
    except Incomplete:
        reading.end = End.INCOMPLETE
    except Malformed:
        reading.end = End.MALFORMED
    reading.doubtful |= reader.doubtful
    return reading


def _framing(request: Request) -> int | None:
    """The length of its body; None for one in chunks (RFC 9112 §6.3). Raises Malformed."""
    hosts, lengths = request.values(b"host"), request.values(b"content-length")
    codings = [value.lower() for value in request.values(b"transfer-encoding")]
    if len(hosts) > 1 or request.method == b"CONNECT":
        raise Malformed
    if codings:
        if request.old or lengths or codings != [b"chunked"]:
            raise Malformed
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not re.fullmatch(rb"[0-9]{1,18}", lengths[0]):
        raise Malformed
    return int(lengths[0])


class _Reader:
    """Takes bytes from the front."""

    def __init__(self, rest: bytes) -> None:
        self._rest = rest
        self.doubtful = False

    def at_end(self) -> bool:
        """After empty lines, which a server ignores in front of a request (RFC 9112 §2.2).

        So it does here with a CR or LF alone, though no server must: nothing can hide in one.
        """
        rest = self._rest.lstrip(b"\r\n")
        self.doubtful |= b"\r" in self._rest[: len(self._rest) - len(rest)].replace(b"\r\n", b"")
        self._rest = rest
        return not rest

    def take(self, size: int) -> bytes:
        if len(self._rest) < size:
            raise Incomplete
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def line(self) -> bytes:
        """Up to CRLF: a CR or LF alone ends no line, and belongs in none."""
        line, crlf, rest = self._rest.partition(b"\r\n")
        if b"\n" in line or b"\r" in (line if crlf else line[:-1]):
            raise Malformed
        if not crlf:
            raise Incomplete
        self._rest = rest
        return line

    def head(self) -> Request:
        line = self.line()
        found = _REQUEST_LINE.fullmatch(line)
        if found is None:
            raise Malformed
        self.doubtful |= b"  " in line
        method, target, minor = found.groups()
        return Request(method, target, minor == b"0", self.fields())

    def fields(self) -> Fields:
        fields = []
        while line := self.line():
            found = _FIELD_LINE.fullmatch(line)
            if found is None:
                raise Malformed
            fields.append((found[1].lower(), found[2]))
        return fields

    def chunks(self) -> bytes:
        body = b""
        while True:
            found = _CHUNK_LINE.fullmatch(self.line())
            if found is None:
                raise Malformed
            self.doubtful |= len(found[1]) > 15 or bool(found[2])  # extensions may be refused (RFC 9112 §7.1.1)
            if (size := int(found[1], 16)) == 0:
                break
            body += self.take(size)
            if not b"\r\n".startswith(self._rest[:2]):
                raise Malformed
            self.take(2)
        trailers = dict(self.fields())
        self.doubtful |= bool({b"content-length", b"transfer-encoding"} & set(trailers))
        return body
