"""Output of a Realtime response, gathered from its deltas, and read whole from `response.done`."""

import re
from typing import Any, Final

from app.operations.operation import Json
from app.operations.turn import Turn
from app.operations.wire import as_list, as_object, as_text, read_usage
from otel.call import Choice, Status, ToolCall

_TEXT: Final = frozenset(
    {
        "response.output_text.delta",
        "response.text.delta",
        "response.output_audio_transcript.delta",
        "response.audio_transcript.delta",
    }
)
_ARGUMENTS: Final = "response.function_call_arguments.delta"
_REASONS: Final = {"max_output_tokens": "length", "content_filter": "content_filter"}
_RESPONSE_ID: Final = re.compile(rb'"response_id"\s*:\s*"([\w-]+)"')


class Output:
    """What one response has said so far."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._calls: dict[str, ToolCall] = {}

    @staticmethod
    def response_id(text: bytes) -> str | None:
        """The response that an event belongs to, by the beginning of its message."""
        found = _RESPONSE_ID.search(text)
        return found[1].decode() if found else None

    def event(self, kind: str, event: Json) -> bool:
        """Read one event; True if it holds generated text or tool output."""
        if kind in _TEXT:
            delta = as_text(event.get("delta")) or ""
            self._texts.append(delta)
            return bool(delta)
        if kind == _ARGUMENTS:
            call = self._calls.get(as_text(event.get("item_id")) or "")
            if call is not None:
                call.arguments += as_text(event.get("delta")) or ""
            return True
        if kind == "response.output_item.added":
            item = as_object(event.get("item"))
            if item.get("type") == "function_call":
                call = ToolCall(as_text(item.get("call_id")), as_text(item.get("name")) or "")
                self._calls[as_text(item.get("id")) or ""] = call
                return True
        return False

    def finish(self, response: Json, turn: Turn) -> None:
        """Write the facts of the response, whole as `response.done` tells it, or as far as it came."""
        answer = turn.answer
        items = [as_object(item) for item in as_list(response.get("output"))]
        choice = Choice(content="".join(_texts(items)), tool_calls=list(_calls(items)))
        if not items:
            choice = Choice(content="".join(self._texts), tool_calls=list(self._calls.values()))
        answer.choices = [choice]
        if not response:
            return
        answer.status = as_text(response.get("status"))
        answer.usage = read_usage(response.get("usage"))
        details = as_object(response.get("status_details"))
        reason = as_text(details.get("reason"))
        match answer.status:
            case "completed":
                choice.finish_reason = "tool_calls" if choice.tool_calls else "stop"
            case "incomplete":
                choice.finish_reason = _REASONS.get(reason or "", reason or "incomplete")
            case "cancelled":
                choice.finish_reason = "cancelled"
                turn.status = Status.CLIENT_ABORTED
            case "failed":
                choice.finish_reason = "failed"
                turn.status = Status.UPSTREAM_ERROR
                turn.error = as_object(details.get("error")) or {"code": "failed"}


def _texts(items: list[Json]) -> list[str]:
    parts = (as_object(part) for item in items for part in as_list(item.get("content")))
    return [as_text(part.get("text")) or as_text(part.get("transcript")) or "" for part in parts]


def _calls(items: list[Json]) -> list[ToolCall]:
    return [
        ToolCall(as_text(item.get("call_id")), as_text(item.get("name")) or "", as_text(item.get("arguments")) or "")
        for item in items
        if item.get("type") == "function_call"
    ]


def sound_seconds(size: int, encoding: Any) -> float:
    """How long sound lasts, in seconds to the millisecond: PCM of 16 bits unless the format is one of G.711."""
    name = as_text(encoding) or as_text(as_object(encoding).get("type")) or "audio/pcm"
    if name in ("g711_ulaw", "g711_alaw", "audio/pcmu", "audio/pcma"):
        return round(size / 8000, 3)
    rate = as_object(encoding).get("rate")
    return round(size / (2 * (rate if isinstance(rate, int) and rate > 0 else 24000)), 3)
