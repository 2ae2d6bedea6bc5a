"""Whole: reads a response that is one JSON text."""

import re
from typing import Final

import orjson

from app.answer.failures import UNEXPECTED, note_failure
from app.operations.json_text import load, load_object
from app.operations.operation import Json, Operation
from otel.call import Call, Status

# Parsing stalls every other stream. Per MB, orjson takes 2 ms for text or base64, 6 ms for embeddings, 20 ms for log
# probabilities: at these limits 8 ms (80 ms at worst) and 1.5 ms. Of larger bodies only the end is kept: 10 MB of
# embeddings, 56 ms to parse, then take 1.6 ms in all and at most 0.1 ms at a time.
MAX_JSON: Final = 4 * 1024 * 1024
MAX_BULK: Final = 256 * 1024
END_BYTES: Final = 4 * 1024
_MEMBER: Final = re.compile(rb'"\w+"\s*:')


class Whole:
    """A body that is one JSON text, or an error of any form."""

    def __init__(self, call: Call, operation: Operation, ok: bool, is_json: bool) -> None:
        """`is_json`: the content type says so."""
        self._call = call
        self._operation = operation
        self._ok = ok
        self._is_json = is_json
        self._limit = MAX_BULK if operation.bulk else MAX_JSON
        self._kept: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> None:
        """Buffer the next bytes."""
        self._kept.append(piece)
        self._size += len(piece)
        if self._size > self._limit:
            self._kept = [b"".join(self._kept)[-END_BYTES:]]

    def close(self, whole: bool) -> bool:
        """Read the buffered bytes; False, as there are no events."""
        call, operation, text = self._call, self._operation, b"".join(self._kept)
        too_large = self._size > self._limit
        if too_large:
            parsed: Json | None = _last_members(text)
            call.answer.truncated = not operation.bulk
        else:
            parsed = load_object(text)
        if not self._ok:
            parsed = parsed or {}
            note_failure(call, parsed.get("error") or parsed, str(call.http_status))
        elif parsed is None:
            if whole or text:
                self._note_unreadable(text)
        else:
            error = operation.error_of(parsed)
            if error:
                note_failure(call, error, "error")
            elif not too_large and operation.answer_members and operation.answer_members.isdisjoint(parsed):
                call.answer.recognized = False
                call.fail(
                    Status.UPSTREAM_ERROR, UNEXPECTED, "the response is JSON, but not an answer of this operation"
                )
                return False
            call.answer.recognized = True
            operation.read_answer(parsed, call.answer)
        return False

    def _note_unreadable(self, text: bytes) -> None:
        """A success that is not a JSON object: another JSON value, half of one, or not JSON at all."""
        call = self._call
        call.answer.recognized = False
        if not self._is_json or _is_json(text) or not text.strip():
            call.fail(Status.UPSTREAM_ERROR, UNEXPECTED, "the response is not a JSON object")
        else:
            call.fail(Status.UPSTREAM_ERROR, "invalid_json", "the response is not valid JSON")


def _is_json(data: bytes) -> bool:
    try:
        load(data)
    except ValueError:
        return False
    return True


def _last_members(end: bytes) -> Json:
    """The members at the end of a JSON object that are whole in `end`, its last bytes."""
    for found in _MEMBER.finditer(end):
        try:
            # all brackets match up to the end only from a member of the outermost object on
            members: dict[str, object] = orjson.loads(b"{" + end[found.start() :])
        except orjson.JSONDecodeError:
            continue
        return members
    return {}
