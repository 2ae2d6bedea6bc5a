"""Completions, the predecessor of chat: a prompt in, the text that continues it out."""

from collections.abc import Set

from app.operations.choices import ChoiceStream, read_choices
from app.operations.json_text import JsonText
from app.operations.operation import Json, Operation, StreamReader
from app.operations.stream_options import request_usage
from app.operations.wire import as_text, json_of, parameters
from otel.call import Answer, Request


class Completions(Operation):
    """`POST …/completions`, JSON and server-sent events.

    With several prompts in one request, the choices come in the order of the prompts.
    """

    name = "text_completion"
    answer_members = frozenset({"choices", "usage"})

    def recorded_apart(self, body: Json) -> Set[str]:
        """The prompt."""
        return {"prompt"}

    def read_request(self, body: Json) -> Request:
        """Model, stream, the prompt (text, token ids, or a list of either) and sampling parameters."""
        return Request(
            model=as_text(body.get("model")),
            stream=body.get("stream") is True,
            prompt=json_of(body, "prompt"),
            parameters=parameters(body),
        )

    def request_usage(self, body: JsonText, parsed: Json) -> JsonText | None:
        """Through `stream_options`."""
        return request_usage(body, parsed)

    def read_answer(self, body: Json, answer: Answer) -> None:
        """Choices, usage, filter verdicts and identity of a `text_completion`."""
        read_choices(body, "text", answer)

    def stream(self) -> StreamReader:
        """A reader of `text_completion` events, which have the shape of whole answers."""
        return ChoiceStream("text")
