"""Chat completions: messages in, choices out."""

from collections.abc import Set

from app.operations.choices import ChoiceStream, read_choices
from app.operations.json_text import JsonText
from app.operations.operation import Json, Operation, StreamReader
from app.operations.stream_options import request_usage
from app.operations.wire import as_text, json_of, parameters
from otel.call import Answer, Request


class Chat(Operation):
    """`POST …/chat/completions`, JSON and server-sent events.

    A legacy `function_call` is a tool call without an id. Of audio output, the id and the transcript are recorded, the
    latter as content, never the audio. Log probabilities are left out.
    """

    name = "chat"
    answer_members = frozenset({"choices", "usage"})
    api_type = "chat_completions"

    def recorded_apart(self, body: Json) -> Set[str]:
        """The messages."""
        return {"messages"}

    def read_request(self, body: Json) -> Request:
        """Model, stream, messages and sampling parameters."""
        return Request(
            model=as_text(body.get("model")),
            stream=body.get("stream") is True,
            prompt=json_of(body, "messages"),
            parameters=parameters(body, body.get("response_format")),
        )

    def request_usage(self, body: JsonText, parsed: Json) -> JsonText | None:
        """Through `stream_options`."""
        return request_usage(body, parsed)

    def read_answer(self, body: Json, answer: Answer) -> None:
        """Choices, usage, filter verdicts and identity of a `chat.completion`."""
        read_choices(body, "message", answer)

    def stream(self) -> StreamReader:
        """A reader of `chat.completion.chunk` events."""
        return ChoiceStream("delta")
