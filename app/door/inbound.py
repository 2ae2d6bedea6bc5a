"""Inbound: the body to send upstream for an admitted request, and what the proxy reads from it."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from app.door.body import RequestBody
from app.door.door import Admitted, json_object
from app.headers import first
from otel.call import Request

type Body = bytes | AsyncIterator[bytes] | None


@dataclass(slots=True)
class Inbound:
    """A request body: whole if the operation takes JSON, else piece by piece."""

    body: Body
    request: Request
    asking: bytes | None = None
    """The body with a request for token usage added; None where the client made one itself, or it does not apply."""
    sticky: str | None = None
    """Calls with the same value go to the same backend."""


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
    sticky: Sticky = field(default_factory=Sticky)

    async def read(self, admitted: Admitted, body: RequestBody) -> Inbound:
        """Raises BadBody, BodyTooLarge or ClientGone."""
        if admitted.operation.json_body:
            whole = await body.whole()
            parsed = json_object(whole)
            return Inbound(
                whole,
                admitted.operation.read_request(parsed),
                admitted.operation.request_usage(whole, parsed) if self.ask_for_usage else None,
                self.sticky.value(admitted, parsed),
            )
        sticky = self.sticky.value(admitted, {})
        if admitted.has_body:
            return Inbound(body.pieces(), Request(), sticky=sticky)
        await body.whole()
        return Inbound(None, Request(), sticky=sticky)
