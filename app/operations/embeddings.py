"""Embeddings: the input texts and their usage, never the vectors."""

from collections.abc import Set

from app.operations.operation import Json, Operation
from app.operations.wire import as_count, as_text, json_of, parameters, read_usage
from otel import attributes as a
from otel.call import Answer, Request


class Embeddings(Operation):
    """`POST …/embeddings`. The usage has no completion tokens, the record no content.

    Azure puts `model` and `usage` after the vectors, so the end of a large answer has all that is recorded.
    """

    name = "embeddings"
    answer_members = frozenset({"data", "usage"})
    bulk = True

    def recorded_apart(self, body: Json) -> Set[str]:
        """The input."""
        return {"input"}

    def read_request(self, body: Json) -> Request:
        """Model, input, and the format and dimensions of the vectors."""
        wanted = parameters(body)
        if encoding := as_text(body.get("encoding_format")):
            wanted[a.REQUEST_ENCODING_FORMATS] = (encoding,)
        if dimensions := as_count(body.get("dimensions")):
            wanted[a.EMBEDDINGS_DIMENSION_COUNT] = dimensions
        return Request(model=as_text(body.get("model")), prompt=json_of(body, "input"), parameters=wanted)

    def read_answer(self, body: Json, answer: Answer) -> None:
        """The model and the usage."""
        answer.model = as_text(body.get("model"))
        answer.usage = read_usage(body.get("usage"))
