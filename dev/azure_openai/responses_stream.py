"""The events by which a stream tells a response: items as they grow, and the whole at the end."""

from collections.abc import Iterable, Iterator

from dev.azure_openai.answer import Answer, ToolCall, pieces_of
from dev.azure_openai.errors import model_failure
from dev.azure_openai.shapes import Event, Json, Template, encode, obfuscation


def response_events(begun: Json, ended: Json, answer: Answer) -> Iterator[Event]:
    telling, calls = _Telling(), iter(answer.tool_calls)
    yield telling.event("response.created", response=begun)
    yield telling.event("response.in_progress", response=begun)
    for index, item in enumerate(ended["output"]):
        match item["type"]:
            case "reasoning":
                yield from _reasoning_events(telling, index, item)
            case "message":
                yield from _message_events(telling, index, item, answer)
            case "function_call":
                yield from _call_events(telling, index, item, next(calls))
    yield telling.event(f"response.{ended['status']}", response=ended)._replace(closing=True)


def response_failure(number: int) -> bytes:
    error = model_failure()
    event = {
        "type": "error",
        "sequence_number": number,
        "code": error["type"],
        "message": error["message"],
        "param": None,
    }
    return _prefix("error") + encode(event) + b"\n\n"


class _Telling:
    """Makes the events of one stream, each with the next number."""

    def __init__(self) -> None:
        self._number = 0

    def event(self, kind: str, **members: object) -> Event:
        event: Json = {"type": kind, "sequence_number": self._number} | members
        self._number += 1
        return Event(_prefix(kind) + encode(event) + b"\n\n")

    def deltas(self, kind: str, pieces: Iterable[str], **where: object) -> Iterator[Event]:
        """Yield an event for each piece; `where` names the item and the part that it belongs to."""
        hole = Template.HOLE
        known: Json = {"type": kind, "sequence_number": hole} | where | {"delta": hole, "obfuscation": hole}
        template = Template(known, _prefix(kind))
        for piece in pieces:
            number = str(self._number).encode()
            self._number += 1
            yield Event(template.fill(number, encode(piece), obfuscation(piece)), generated=True)


def _prefix(kind: str) -> bytes:
    return f"event: {kind}\ndata: ".encode()


def _reasoning_events(telling: _Telling, index: int, item: Json) -> Iterator[Event]:
    yield telling.event("response.output_item.added", output_index=index, item=item | {"summary": []})
    for number, part in enumerate(item["summary"]):
        where = {"item_id": item["id"], "output_index": index, "summary_index": number}
        kind = "response.reasoning_summary"
        yield telling.event(f"{kind}_part.added", **where, part=part | {"text": ""})
        yield from telling.deltas(f"{kind}_text.delta", pieces_of(part["text"]), **where)
        yield telling.event(f"{kind}_text.done", **where, text=part["text"])
        yield telling.event(f"{kind}_part.done", **where, part=part)
    yield telling.event("response.output_item.done", output_index=index, item=item)


def _message_events(telling: _Telling, index: int, item: Json, answer: Answer) -> Iterator[Event]:
    [part] = item["content"]
    text = "refusal" if answer.refused else "text"
    kind = "response.refusal" if answer.refused else "response.output_text"
    where = {"item_id": item["id"], "output_index": index, "content_index": 0}
    logprobs: Json = {} if answer.refused else {"logprobs": []}
    begun = item | {"content": [], "status": "in_progress"}
    yield telling.event("response.output_item.added", output_index=index, item=begun)
    yield telling.event("response.content_part.added", **where, part=part | {text: ""})
    yield from telling.deltas(f"{kind}.delta", answer.pieces, **where, **logprobs)
    yield telling.event(f"{kind}.done", **where, **{text: answer.text}, **logprobs)
    yield telling.event("response.content_part.done", **where, part=part)
    yield telling.event("response.output_item.done", output_index=index, item=item)


def _call_events(telling: _Telling, index: int, item: Json, call: ToolCall) -> Iterator[Event]:
    where = {"item_id": item["id"], "output_index": index}
    kind = "response.function_call_arguments"
    begun = item | {"arguments": "", "status": "in_progress"}
    yield telling.event("response.output_item.added", output_index=index, item=begun)
    yield from telling.deltas(f"{kind}.delta", call.pieces, **where)
    yield telling.event(f"{kind}.done", **where, arguments=call.arguments, name=call.name)
    yield telling.event("response.output_item.done", output_index=index, item=item)
