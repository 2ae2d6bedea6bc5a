"""Held: the responses of backends that did not serve a call, until it is known which of them the client gets."""

from dataclasses import dataclass

from app.errors import UpstreamUnreachable
from app.relay.backends import Backend
from app.upstream import Answer, UpstreamFault
from otel.call import Call


@dataclass(slots=True)
class UpstreamResponse:
    """A response whose body is still to be read, except for `already_read`."""

    answer: Answer
    already_read: bytes = b""
    filters_usage: bool = False
    """Whether the proxy requested usage for the client, so that the usage event must be removed."""


type Outcome = UpstreamResponse | UpstreamFault | UpstreamUnreachable


class Held:
    """What the client gets if no backend serves the call: the last failure, or else the first 404.

    A backend that is busy or cannot be reached may have the object that the others do not.
    """

    def __init__(self) -> None:
        self._last: tuple[Backend, Outcome] | None = None
        self._missing: tuple[Backend, UpstreamResponse] | None = None

    def keep_last(self, backend: Backend, outcome: Outcome) -> None:
        """Keep a failure instead of the one before."""
        _close(self._last)
        self._last = backend, outcome

    def keep_missing(self, backend: Backend, received: UpstreamResponse) -> None:
        """Keep a response that a stored object is not there, if it is the first."""
        if self._missing is None:
            self._missing = backend, received
        else:
            received.answer.close()

    def best(self, call: Call) -> UpstreamResponse:
        """Raises the fault if that is the last failure."""
        chosen = self._last or self._missing
        if chosen is None:
            raise UpstreamUnreachable("No backend can be asked.")
        if self._last is not None:
            _close(self._missing)
        backend, outcome = chosen
        if not isinstance(outcome, UpstreamResponse):
            raise outcome
        note_backend(call, backend)
        return outcome

    def close(self) -> None:
        """Close the responses; none of them is used."""
        _close(self._last)
        _close(self._missing)


def _close(kept: tuple[Backend, Outcome] | None) -> None:
    if kept is not None and isinstance(kept[1], UpstreamResponse):
        kept[1].answer.close()


def note_backend(call: Call, backend: Backend) -> None:
    """The call goes to this backend, or gets its response."""
    call.backend, call.server_address, call.server_port = backend.name, backend.host, backend.port
