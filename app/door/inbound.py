"""Inbound: the body to send upstream for an admitted request, and what the proxy reads from it."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from app.door.body import RequestBody
from app.door.caller import CallerFields
from app.door.door import Admitted
from app.door.form import Form
from app.errors import BadBody
from app.headers import first
from app.operations.decoding import FAULTS, MAX_DECODED, decoder
from app.operations.json_text import JsonText
from app.operations.members import Members, TooCostly, other_members, reduced_members
from otel.call import Request

MAX_HELD: Final = 32 * 1024 * 1024
"""Limit on what is held of a form whose model comes behind its files; past it, any backend may get it."""

LARGE: Final = 1024 * 1024
"""Bytes up to which any JSON is read at once."""
MAX_VALUES: Final = 4_000_000
BYTES_PER_NAME: Final = 64
"""Limits on larger bodies: splitting them takes at most some 40 ms, and their members some four times their bytes."""
_MODEL_FIRST: Final = re.compile(rb'\s*\{\s*"model"\s*:\s*"([\w.:/-]{1,128})"')

SLICE: Final = 4 * 1024
YIELD_BYTES: Final = 16 * SLICE

type Body = JsonText | AsyncIterator[bytes] | None


@dataclass(slots=True)
class Inbound:
    """A request body: whole if the operation takes JSON, else piece by piece."""

    body: Body
    request: Request
    members: str | None = None
    """The other members of a JSON body, as JSON; None without captured content, or for a body that is not read."""
    reduced_members: str | None = None
    """The same without a client's texts, where those must not be written, or not yet."""
    text: JsonText | None = None
    """The JSON in it, decoded; None if it was not read."""
    asking: JsonText | None = None
    """The body with a request for token usage added; None where the client made one itself, or it does not apply."""
    caller: Mapping[str, str] = field(default_factory=dict)
    """What the body says of the caller."""
    sticky: str | None = None
    """Calls with the same value go to the same backend."""
    form: Form | None = None
    """Reads a form while its body is sent."""
    unread: bool = False
    """Whether it is JSON that could not be read, or not at a reasonable cost."""


@dataclass(frozen=True, slots=True)
class Sticky:
    """Where to find the value that keeps calls on one backend: PROXY_STICKY, `header:NAME` or `body:FIELD`."""

    header: bytes | None = None
    field: str | None = None

    @classmethod
    def parse(cls, text: str | None) -> "Sticky":
        """Parse the setting, which is already validated, or None."""
        kind, _, name = (text or "").partition(":")
        return cls(name.lower().encode() if kind == "header" else None, name if kind == "body" else None)

    def value(self, admitted: Admitted, parsed: Mapping[str, object]) -> str | None:
        """The request's value, or None."""
        if self.header is not None:
            return first(admitted.headers, self.header)
        found = parsed.get(self.field) if self.field is not None else None
        return found if isinstance(found, str) else None


@dataclass(frozen=True, slots=True)
class InboundReader:
    """Reads request bodies by the proxy's settings."""

    ask_for_usage: bool = True
    withholds: bool = False
    """Whether content is withheld until the end of a call."""
    model_routes: bool = False
    """Whether a request's model decides which backends can serve it."""
    sticky: Sticky = field(default_factory=Sticky)
    caller_fields: CallerFields = field(default_factory=lambda: CallerFields({}, {}))

    async def read(self, admitted: Admitted, body: RequestBody) -> Inbound:
        """Raises BadBody, BodyTooLarge or ClientGone."""
        if admitted.operation.json_body:
            return await self._json(admitted, await body.whole())
        sticky = self.sticky.value(admitted, {})
        if admitted.has_body and admitted.operation.form and admitted.content_encoding is None:
            form = Form.of(first(admitted.headers, b"content-type"))
            if form is not None:
                return await self._form(admitted, body, form)
        if admitted.has_body:
            return Inbound(body.pieces(), Request(), sticky=sticky)
        await body.whole()
        return Inbound(None, Request(), sticky=sticky)

    async def _form(self, admitted: Admitted, body: RequestBody, form: Form) -> Inbound:
        """A form, of which as much is held as it takes to find the model, where that chooses among backends."""
        pieces = form.reading(body.pieces())
        needs_model = self.model_routes and admitted.target.deployment is None
        held: list[bytes] = []
        size = 0
        async for piece in pieces:
            held.append(piece)
            size += len(piece)
            if not needs_model or "model" in form.fields or form.ended or size > MAX_HELD:
                break

        async def whole() -> AsyncIterator[bytes]:
            while held:
                yield held.pop(0)
            async for piece in pieces:
                yield piece

        request = admitted.operation.read_form(form.fields)
        return Inbound(whole(), request, sticky=self.sticky.value(admitted, form.fields), form=form)

    async def _json(self, admitted: Admitted, body: JsonText) -> Inbound:
        """Raises BadBody."""
        if admitted.content_encoding is not None:
            return await self._encoded(admitted, body, admitted.content_encoding)
        if await _costs_too_much(body):
            return self._unread(admitted, body)
        try:
            if len(body) <= LARGE:
                return self._plain(admitted, body)
            return await asyncio.to_thread(self._plain, admitted, body)
        except TooCostly:
            return self._unread(admitted, body)
        except ValueError as fault:
            raise BadBody(f"The request's body is not valid JSON: {fault}.") from None
        except TypeError:
            raise BadBody("The request's body must be a JSON object.") from None

    def _plain(self, admitted: Admitted, body: JsonText) -> Inbound:
        """Raises ValueError, TypeError or TooCostly."""
        members = Members.of(body)
        asking = admitted.operation.request_usage(body, members) if self.ask_for_usage else None
        return self._read(admitted, body, body, members, asking)

    async def _encoded(self, admitted: Admitted, body: JsonText, encoding: str) -> Inbound:
        """A body that goes upstream as it is, and is read as far as it can be: upstream decides what is valid."""
        text = await _decoded(body, encoding)
        if text is None or await _costs_too_much(text):
            return self._unread(admitted, body)
        try:
            return self._read(admitted, body, text, Members.of(text), None)
        except (ValueError, TypeError, TooCostly):
            return self._unread(admitted, body)

    def _unread(self, admitted: Admitted, body: JsonText) -> Inbound:
        """Without what the body says, as far as that cannot be known."""
        named = _MODEL_FIRST.match(body[:1024])
        request = Request(model=named[1].decode()) if named else Request()
        return Inbound(body, request, sticky=self.sticky.value(admitted, {}), unread=True)

    def _read(
        self, admitted: Admitted, body: JsonText, text: JsonText, parsed: Members, asking: JsonText | None
    ) -> Inbound:
        operation, captured = admitted.operation, admitted.capture_content
        apart = operation.recorded_apart(parsed)
        return Inbound(
            body,
            operation.read_request(parsed),
            other_members(parsed, apart) if captured else None,
            reduced_members(parsed, apart) if self.withholds or not captured else None,
            text,
            asking,
            self.caller_fields.of_body(parsed),
            self.sticky.value(admitted, parsed),
        )


async def _costs_too_much(text: JsonText) -> bool:
    """Whether splitting the JSON into members would stall other calls, or its members take several times its memory.

    Ordinary large bodies hold images, documents and long texts: few values, many bytes.
    """
    if len(text) <= LARGE:
        return False
    values = names = 0
    view = memoryview(text)
    for at in range(0, len(text), LARGE):
        piece = bytes(view[at : at + LARGE])
        values += piece.count(b",") + piece.count(b"[") + piece.count(b"{")
        names += piece.count(b'":')
        if values > MAX_VALUES or names > len(text) // BYTES_PER_NAME:
            return True
        await asyncio.sleep(0)
    return False


async def _decoded(body: JsonText, encoding: str) -> bytes | None:
    """The decoded body; None if that is not possible, or too large. Other calls go on meanwhile.

    A slice holds few members: each of them, even an empty one, costs a copy of the rest of its slice.
    """
    decode = decoder(encoding)
    if decode is None:
        return None
    pieces: list[bytes] = []
    size = 0
    for at in range(0, len(body), SLICE):
        try:
            piece = decode(bytes(body[at : at + SLICE]))
        except FAULTS:
            return None
        pieces.append(piece)
        size += len(piece)
        if size > MAX_DECODED:
            return None
        if at % YIELD_BYTES == 0:
            await asyncio.sleep(0)
    return b"".join(pieces)
