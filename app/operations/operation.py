"""Operation: how to read the bodies of one operation; Plain reads none."""

from collections.abc import Mapping, Set
from typing import Protocol

from app.operations.json_text import JsonText
from app.operations.room import Room
from otel.call import Answer, Request

type Json = Mapping[str, object]


class StreamReader(Protocol):
    """Collects the facts of one stream of events."""

    room: Room
    """For the text that it gathers."""
    only_text: str | None = None
    """The text that the last event added, if repeating the event would do nothing else."""

    def event(self, event: Json) -> bool:
        """Read one event; True if it holds generated text, reasoning or tool output."""
        ...

    def add_text(self, text: str) -> None:
        """Read an event that differs from the last one, which had `only_text`, only in this text."""
        return

    def finish(self, answer: Answer) -> bool:
        """Write the facts to `answer`; True if the stream had its own last event."""
        ...


class Operation(Protocol):
    """How to read one operation's bodies. Nothing here raises: upstream decides what is valid."""

    name: str
    """GenAI operation name, the first word of the span's name."""
    api_type: str | None = None
    json_body: bool = True
    """Whether a request must be a JSON object. Such bodies are buffered, so that they can be resent."""
    form: bool = False
    """Whether a request is a form. It passes as it arrives, and its small fields are read."""
    json_answer: bool = True
    """Whether a JSON answer is worth reading."""
    other_answers: bool = False
    """Whether an answer may also be anything but JSON and events, such as sound or plain text."""
    answer_members: frozenset[str] = frozenset()
    """A JSON answer without an error has at least one of these; if there are none, any response is an answer."""
    names_object: bool = False
    """Whether its path names a stored object, which one backend has."""
    makes_object: bool = False
    """Whether its answer is a new stored object."""
    billed_by_units: bool = False
    """Whether an answer without token usage is billed by other units."""
    bulk: bool = False
    """Whether a large JSON answer is nearly all numbers that are not recorded; its last members have all the facts."""

    def recorded_apart(self, body: Json) -> Set[str]:
        """The members of a request's body that its prompt and instructions come from."""
        return frozenset()

    def read_request(self, body: Json) -> Request:
        """The facts of a request's body."""
        return Request()

    def read_form(self, fields: Mapping[str, str]) -> Request:
        """The facts of a request that is a form, by its small fields."""
        return Request()

    def request_usage(self, body: JsonText, parsed: Json) -> JsonText | None:
        """The body with token usage requested; None if the client did so already, or it is not possible."""
        return None

    def read_answer(self, body: Json, answer: Answer) -> None:
        """Add the facts of a whole JSON answer, or of the last members of one too large to parse."""
        return

    def note_units(self, request: Request, answer: Answer) -> None:
        """Add the units that a complete answer is billed by, where only the request tells them."""
        return

    def error_of(self, body: Json) -> object:
        """The error in an event, or in a whole answer with a status of success; None without one."""
        return body.get("error") or None

    def stream(self) -> StreamReader:
        """A reader for one stream of events."""
        return _UnreadStream()


class Plain(Operation):
    """Any operation of which only status, sizes and times are recorded: files, batches, assistants, models …

    An `error` in its JSON answer is the state of a stored object, such as a batch, and not a failed call.
    """

    name = "call"
    json_body = False
    json_answer = False
    names_object = True
    makes_object = True


class _UnreadStream(StreamReader):
    """Reads no event, so any end counts as complete."""

    def __init__(self) -> None:
        self.room = Room()

    def event(self, event: Json) -> bool:
        return False

    def finish(self, answer: Answer) -> bool:
        return True
