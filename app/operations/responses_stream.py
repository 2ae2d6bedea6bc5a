"""ResponseStream: the events of one response. The last event repeats all of it; without it, the deltas count."""

from collections.abc import Callable
from typing import Final

from app.operations.operation import Json, StreamReader
from app.operations.response_items import is_call
from app.operations.room import Room
from app.operations.wire import as_count, as_list, as_object
from otel.call import Answer

_LAST_EVENTS: Final = frozenset(
    {"response.completed", "response.incomplete", "response.failed", "response.cancelled", "error"}
)
_FIRST_EVENTS: Final = frozenset({"response.created", "response.queued", "response.in_progress"})
_AUDIO: Final = "response.audio.delta"

# The item type and part that a delta extends. Deltas of other types belong to tools that the service runs.
_PARTS: Final = {
    "response.output_text.delta": ("message", "text"),
    "response.refusal.delta": ("message", "refusal"),
    "response.reasoning_summary_text.delta": ("reasoning", "summary"),
    "response.reasoning_text.delta": ("reasoning", "content"),
    "response.function_call_arguments.delta": ("function_call", "arguments"),
    "response.custom_tool_call_input.delta": ("custom_tool_call", "input"),
}


class ResponseStream(StreamReader):
    """Reads through `read`, which takes whole responses; one that was cut off is assembled from its events."""

    def __init__(self, read: Callable[[Json, Answer], None]) -> None:
        self._read = read
        self.room = Room()
        self._response: Json = {}
        self._items: dict[int, _Item] = {}
        self._ended = False

    def event(self, event: Json) -> bool:
        """Read one event; runs for every token of every stream (1 µs, without parsing)."""
        kind, delta = event.get("type"), event.get("delta")
        if not isinstance(kind, str):
            return False
        if isinstance(delta, str):
            part = _PARTS.get(kind)
            if part is not None and delta:
                index = event.get("output_index")
                item = self._items.get(index) if type(index) is int else None
                if item is None:
                    item = self._item(index)
                item.add(*part, event.get("summary_index"), self.room.keep(delta))
            return delta != "" and kind != _AUDIO
        return self._other(kind, event)

    def _other(self, kind: str, event: Json) -> bool:
        match kind:
            case "response.output_item.added":
                item = self._item(event.get("output_index"))
                item.added = as_object(event.get("item"))
                return is_call(item.added.get("type"))  # the name of a tool is output
            case "response.output_item.done":
                self._item(event.get("output_index")).done = as_object(event.get("item"))
            case _ if kind in _LAST_EVENTS:
                self._ended = True
                self._response = as_object(event.get("response")) or self._response
            case _ if kind in _FIRST_EVENTS:
                self._response = as_object(event.get("response"))
        return False

    def _item(self, index: object) -> "_Item":
        return self._items.setdefault(as_count(index) or 0, _Item())

    def finish(self, answer: Answer) -> bool:
        """Write the facts of the response."""
        response = self._response
        if not as_list(response.get("output")):
            response = {**response, "output": [self._items[index].whole() for index in sorted(self._items)]}
        self._read(response, answer)
        return self._ended


class _Item:
    """One output item: added, extended by deltas, done."""

    def __init__(self) -> None:
        self.added: Json = {}
        self.done: Json = {}
        self._type = ""
        self._pieces: dict[tuple[str, object], list[str]] = {}

    def add(self, kind: str, part: str, number: object, piece: str) -> None:
        """Extend a part; `number` distinguishes the paragraphs of a summary."""
        self._type = kind
        key = (part, number if type(number) is int else None)
        pieces = self._pieces.get(key)
        if pieces is None:
            pieces = self._pieces[key] = []
        pieces.append(piece)

    def whole(self) -> Json:
        """The item in the shape of a whole response, as far as it is known."""
        if self.done:
            return self.done
        joined = [(part, "".join(pieces)) for (part, _), pieces in self._pieces.items()]
        match self._type:
            case "message":
                return {"type": "message", "content": [{part: text} for part, text in joined]}
            case "reasoning":
                return {"type": "reasoning", "content": [{"text": text} for _, text in joined]}
        return {"type": self._type, **self.added, **dict(joined)}
