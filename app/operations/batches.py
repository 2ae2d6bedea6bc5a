"""Batches: jobs over a file of requests, made by one call; a fetch after their end tells what they used."""

from typing import Final

from app.operations.operation import Json, Plain
from app.operations.wire import as_text, read_usage
from otel.call import FETCH, Answer

_UNENDED: Final = frozenset({"validating", "in_progress", "finalizing", "cancelling"})


class Batch(Plain):
    """`POST …/batches`: a plain call, whose answer says that usage is pending.

    A batch that failed is no failed call.
    """

    api_type = "batches"
    json_answer = True

    def read_answer(self, body: Json, answer: Answer) -> None:
        """Identity, state and usage, which batches have had since September 2025."""
        answer.id = as_text(body.get("id"))
        answer.model = as_text(body.get("model"))
        answer.status = as_text(body.get("status"))
        answer.pending = answer.status in _UNENDED
        answer.background = True
        if not answer.pending and (usage := read_usage(body.get("usage"))) is not None:
            answer.usage, answer.service_tier = usage, "batch"

    def error_of(self, body: Json) -> object:
        """None: an error in it is the state of the batch."""
        return None


class FetchBatch(Batch):
    """`GET …/batches/{id}`."""

    name = FETCH
