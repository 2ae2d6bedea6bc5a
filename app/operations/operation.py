"""What an operation is, and the plain one that knows nothing of its bodies."""

from collections.abc import Mapping
from typing import Protocol

from otel.call import Answer, Request

type Json = Mapping[str, object]


class StreamReader(Protocol):
    """Gathers what the events of one stream say."""

    only_text: str | None = None
    """The text that the last event added, where it would do nothing else if it came again."""

    def event(self, event: Json) -> bool:
        """Take one event; True if it holds generated text, reasoning or tool output."""
        ...

    def more(self, text: str) -> None:
        """Take an event that is the same as the last one, which had `only_text`, but for this text."""
        return

    def finish(self, answer: Answer) -> bool:
        """Write what was gathered; True if the events came to an end of their own."""
        ...


class Operation(Protocol):
    """How one operation's bodies read. Nothing here raises: what is not understood is upstream's to judge."""

    name: str
    """GenAI operation name, first word of the span's name."""
    api_type: str | None = None
    json_body: bool = True
    """Whether a request must be a JSON object. Such bodies are read whole, so that they can be sent again."""
    json_answer: bool = True
    """Whether a JSON answer says anything worth reading."""
    bulk: bool = False
    """Whether nearly all of a large JSON answer is numbers that no record wants; its last members are all it says."""

    def read_request(self, body: Json) -> Request:
        """The facts of a request's body."""
        return Request()

    def asking_for_usage(self, body: bytes, parsed: Json) -> bytes | None:
        """A request's body with token usage asked for; None where the client asked already, or nobody can."""
        return None

    def read_answer(self, body: Json, answer: Answer) -> None:
        """Add the facts of a whole JSON answer, or of the last members of one too large to be parsed."""
        return

    def error_of(self, body: Json) -> object:
        """The error that an event, or the whole answer of a call that seems to have succeeded, tells of; else None."""
        return body.get("error") or None

    def stream(self) -> StreamReader:
        """A reader for one stream of events."""
        return _UnreadStream()


class Plain(Operation):
    """Any operation of which only status, sizes and times are recorded: files, batches, assistants, models …

    An `error` within its JSON answer is the state of something asked about, such as a batch, and no failed call.
    """

    name = "call"
    json_body = False
    json_answer = False


class _UnreadStream(StreamReader):
    """Understands no event, and so takes any end for the right one."""

    def event(self, event: Json) -> bool:
        return False

    def finish(self, answer: Answer) -> bool:
        return True
