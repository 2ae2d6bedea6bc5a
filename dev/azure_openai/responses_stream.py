"""The events of a streamed response: its items as they grow, and the whole response at the end."""

from collections.abc import Iterable, Iterator

from dev.azure_openai.answer import Answer, ToolCall, pieces_of
from dev.azure_openai.errors import model_failure
from dev.azure_openai.shapes import Event, Json, Template, encode, obfuscation


def response_events(initial: Json, final: Json, answer: Answer) -> Iterator[Event]:
    make, calls = _EventMaker(), iter(answer.tool_calls)
    yield make.event("response.created", response=initial)
    yield make.event("response.in_progress", response=initial)
    for index, item in enumerate(final["output"]):
        match item["type"]:
            case "reasoning":
                yield from _reasoning_events(make, index, item)
            case "message":
                yield from _message_events(make, index, item, answer)
            case "function_call":
                yield from _call_events(make, index, item, next(calls))
    yield make.event(f"response.{final['status']}", response=final)._replace(closing=True)


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


class _EventMaker:
    """Makes the events of one stream and numbers them."""

    def __init__(self) -> None:
        self._number = 0

    def event(self, kind: str, **members: object) -> Event:
        event: Json = {"type": kind, "sequence_number": self._number} | members
        self._number += 1
        return Event(_prefix(kind) + encode(event) + b"\n\n")

    def deltas(self, kind: str, pieces: Iterable[str], **where: object) -> Iterator[Event]:
        """Yield an event for each piece; `where` identifies the item and part that it belongs to."""
        hole = Template.HOLE
        known: Json = {"type": kind, "sequence_number": hole} | where | {"delta": hole, "obfuscation": hole}
        template = Template(known, _prefix(kind))
        for piece in pieces:
            number = str(self._number).encode()
            self._number += 1
            yield Event(template.fill(number, encode(piece), obfuscation(piece)), generated=True)


def _prefix(kind: str) -> bytes:
    return f"event: {kind}\ndata: ".encode()


def _reasoning_events(make: _EventMaker, index: int, item: Json) -> Iterator[Event]:
    yield make.event("response.output_item.added", output_index=index, item=item | {"summary": []})
    for number, part in enumerate(item["summary"]):
        where = {"item_id": item["id"], "output_index": index, "summary_index": number}
        kind = "response.reasoning_summary"
        yield make.event(f"{kind}_part.added", **where, part=part | {"text": ""})
        yield from make.deltas(f"{kind}_text.delta", pieces_of(part["text"]), **where)
        yield make.event(f"{kind}_text.done", **where, text=part["text"])
        yield make.event(f"{kind}_part.done", **where, part=part)
    yield make.event("response.output_item.done", output_index=index, item=item)


def _message_events(make: _EventMaker, index: int, item: Json, answer: Answer) -> Iterator[Event]:
    [part] = item["content"]
    text = "refusal" if answer.refused else "text"
    kind = "response.refusal" if answer.refused else "response.output_text"
    where = {"item_id": item["id"], "output_index": index, "content_index": 0}
    logprobs: Json = {} if answer.refused else {"logprobs": []}
    initial = item | {"content": [], "status": "in_progress"}
    yield make.event("response.output_item.added", output_index=index, item=initial)
    yield make.event("response.content_part.added", **where, part=part | {text: ""})
    yield from make.deltas(f"{kind}.delta", answer.pieces, **where, **logprobs)
    yield make.event(f"{kind}.done", **where, **{text: answer.text}, **logprobs)
    yield make.event("response.content_part.done", **where, part=part)
    yield make.event("response.output_item.done", output_index=index, item=item)


def _call_events(make: _EventMaker, index: int, item: Json, call: ToolCall) -> Iterator[Event]:
    where = {"item_id": item["id"], "output_index": index}
    kind = "response.function_call_arguments"
    initial = item | {"arguments": "", "status": "in_progress"}
    yield make.event("response.output_item.added", output_index=index, item=initial)
    yield from make.deltas(f"{kind}.delta", call.pieces, **where)
    yield make.event(f"{kind}.done", **where, arguments=call.arguments, name=call.name)
    yield make.event("response.output_item.done", output_index=index, item=item)
