"""Stored objects: responses, files, batches, threads … live on the backend that made them.

A call that names one by its id must go there. The proxy remembers the ids it has seen being made; another process made
those it does not know, so the other backends are tried after a 404.
"""

import re
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from app.operations import Operation, Plain
from app.operations.decoding import FAULTS, decoder
from app.operations.json_text import load_object
from app.operations.wire import as_text
from otel.call import Call

MAX_IDS: Final = 10_000
MAX_ANSWER: Final = 64 * 1024
"""A new object's description is shorter."""
_ID: Final = re.compile(r"[a-z]+[-_]\w*\d[\w-]*")


class StoredIds:
    """Which backend made an object, by its id; the oldest are forgotten first."""

    def __init__(self) -> None:
        self._backends: OrderedDict[str, str] = OrderedDict()

    def add(self, stored_id: str, backend: str) -> None:
        """An object was made, or found, on a backend."""
        self._backends[stored_id] = backend
        self._backends.move_to_end(stored_id)
        if len(self._backends) > MAX_IDS:
            self._backends.popitem(last=False)

    def backend(self, ids: Iterable[str | None]) -> str | None:
        """The backend's name for the first of these ids that is known."""
        return next((self._backends[one] for one in ids if one is not None and one in self._backends), None)


class StoredCall:
    """The stored objects that one call names, finds or makes."""

    def __init__(self, ids: StoredIds, call: Call, operation: Operation, suffix: str, is_post: bool) -> None:
        """`suffix` is the path after the family's prefix."""
        self._ids = ids
        self._call = call
        collection, *rest = suffix.split("/")
        self._in_path = rest if operation.names_object and collection != "models" else []
        self._named = (*self._in_path, call.request.previous_response_id, call.request.conversation_id)
        self._makes = is_post and operation.makes_object
        self._reads_answer = is_post and isinstance(operation, Plain)
        self._answer = b""
        self.encoding: str | None = None
        """The response's content-encoding."""

    @property
    def backend(self) -> str | None:
        """Where the object is that the call names, if it is known."""
        return self._ids.backend(self._named)

    @property
    def may_name_object(self) -> bool:
        """Whether a 404 may mean that an object is not on this backend."""
        return any(self._named)

    def feed(self, chunk: bytes) -> None:
        """Take a piece of the response, which may describe a new object."""
        if self._reads_answer:
            self._answer += chunk
            if len(self._answer) > MAX_ANSWER:
                self._reads_answer, self._answer = False, b""

    def close(self) -> None:
        """Remember the ids of a call that succeeded."""
        call = self._call
        if call.backend is None or call.http_status is None or call.http_status >= 300:
            return
        for stored_id in self._in_path:
            if _ID.fullmatch(stored_id):
                self._ids.add(stored_id, call.backend)
        made = self._id_in_answer() if self._reads_answer else call.answer.id
        if made and self._makes:
            self._ids.add(made, call.backend)

    def _id_in_answer(self) -> str | None:
        decode = decoder(self.encoding)
        try:
            text = decode(self._answer) if decode is not None else b""
        except FAULTS:
            return None
        return as_text((load_object(text) or {}).get("id"))
