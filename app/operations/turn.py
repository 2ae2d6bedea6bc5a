"""Turn: one response within a WebSocket session, from the moment it is asked for to its end.

SessionEvents   reads a session's events, both ways, and tells of turns that begin and end
Turn            the facts of one; each becomes a call
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from app.operations.operation import Json
from otel.call import Answer, Request, Status


@dataclass(slots=True)
class Turn:
    """Times are `time.monotonic_ns()`."""

    operation: str
    api_type: str
    asked_ns: int
    request: Request = field(default_factory=Request)
    members: Callable[[bool], str] | None = None
    """The other members of what asked for it, as JSON; reduced to what is no client's text if the argument is True."""
    body: bytes | None = None
    """What asked for it, where usage can be estimated from that."""
    event_id: str | None = None
    """The client's id of the event that asked for it."""
    prompt_items: list[object] = field(default_factory=list)
    """What the prompt is made of, where it may still change."""
    answer: Answer = field(default_factory=Answer)
    chunks: int = 0
    first_chunk_ns: int | None = None
    first_token_ns: int | None = None
    first_audio_ns: int | None = None
    speech_ended_ns: int | None = None
    """When the speech ended that it answers."""
    status: Status = Status.COMPLETED
    error: Json | None = None


class Listener(Protocol):
    """What a session's turns become."""

    def begin(self, turn: Turn) -> None:
        """It was asked for."""
        ...

    def end(self, turn: Turn) -> None:
        """Its last event has passed."""
        ...


class SessionEvents(Protocol):
    """Reads the events of one session; nothing here raises."""

    model: str | None
    """The deployment, as far as the handshake or the service told it."""
    session_id: str | None
    """The service's."""

    def sent(self, text: bytes, at_ns: int) -> None:
        """Read an event of the client's."""
        ...

    def received(self, text: bytes, at_ns: int) -> None:
        """Read an event of the service's."""
        ...

    def sent_sound(self, size: int) -> None:
        """The client sent bytes of sound."""
        ...

    def received_sound(self, text: bytes, at_ns: int) -> None:
        """The service sent sound; `text` is the beginning of its event."""
        ...

    def broken(self) -> list[Turn]:
        """The turns that have not ended, with what was received of them."""
        ...
