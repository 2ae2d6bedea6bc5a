"""Form: the small fields of a multipart form (RFC 7578), read as it passes; what is in its files stays unread."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    pass

MAX_FIELD: Final = 64 * 1024
MAX_FIELDS: Final = 100


class Form:
    """Takes the body in pieces. It gives up on a malformed form and keeps what it has read so far."""

    def __init__(self, boundary: bytes) -> None:
        # imported with the first form: it takes as long as the rest of this package
        from python_multipart import MultipartParser

        self.fields: dict[str, str] = {}
        """The first value of each field that is not a file."""
        self.ended = False
        """Whether there is nothing more to read."""
        self._name: str | None = None
        self._value = b""
        self._header = b""
        self._header_value = b""
        self._parser: MultipartParser | None = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._add_header,
                "on_header_value": self._add_header_value,
                "on_header_end": self._end_header,
                "on_part_data": self._add,
                "on_part_end": self._end,
            },
        )

    @classmethod
    def of(cls, content_type: str | None) -> "Form | None":
        """A reader for a body of that type; None if it is not a multipart form."""
        from python_multipart.multipart import parse_options_header

        try:
            kind, options = parse_options_header(content_type or "")
            boundary = options.get(b"boundary")
            return cls(boundary) if kind == b"multipart/form-data" and boundary else None
        except ValueError:  # a boundary that is too long, or a parameter that is not Latin-1
            return None

    def feed(self, piece: bytes) -> None:
        """Read the next piece."""
        from python_multipart.exceptions import FormParserError

        if self._parser is None:
            return
        try:
            self._parser.write(piece)
        except FormParserError:
            self._parser, self.ended = None, True

    async def reading(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The same pieces, each read before it goes on."""
        async for piece in pieces:
            self.feed(piece)
            yield piece
        self.ended = True

    # callbacks of the parser

    def _begin(self) -> None:
        self._name, self._value = None, b""

    def _add_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        from python_multipart.multipart import parse_options_header

        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(self._header_value)
            if b"filename" not in options and b"name" in options and len(self.fields) < MAX_FIELDS:
                self._name = options[b"name"].decode(errors="replace")
        self._header = self._header_value = b""

    def _add(self, data: bytes, start: int, end: int) -> None:
        if self._name is not None:
            self._value += data[start:end]
            if len(self._value) > MAX_FIELD:
                self._name, self._value = None, b""

    def _end(self) -> None:
        if self._name is not None:
            self.fields.setdefault(self._name, self._value.decode(errors="replace"))
        self._name, self._value = None, b""
