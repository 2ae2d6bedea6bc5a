"""Chat completions: the JSON response and the events of a stream, with the filter sync, async or off."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, zip_longest

from dev.azure_openai.answer import Answer, Prompt, Tool, compose, reasoning_tokens, text_of
from dev.azure_openai.errors import failure_event
from dev.azure_openai.model_request import ModelRequest
from dev.azure_openai.shapes import (
    DONE,
    FINGERPRINT,
    Event,
    Json,
    Reply,
    Stream,
    Template,
    Whole,
    answer_filter,
    chat_usage,
    encode,
    identifier,
    now,
    obfuscation,
    prompt_filter_results,
)

_OFFSETS_EVERY = 20


def chat_completions(request: ModelRequest) -> Reply:
    """Respond to one request. Raises ServiceError."""
    wants_usage = request.wants_usage
    prompt = _prompt(request)
    answers = [compose(prompt, index) for index in range(int(request.body.get("n") or 1))]
    usage = _usage(prompt, answers)
    if request.streams:
        chunks = _Chunks(request, wants_usage)
        totals = usage if wants_usage and not request.simulation.no_usage else None
        return Stream(_events(chunks, answers, totals), failure_event)
    body: Json = {
        "choices": [_choice(answer, index, request.simulation.filter) for index, answer in enumerate(answers)],
        "created": now(),
        "id": identifier("chatcmpl-"),
        "model": request.model,
        "object": "chat.completion",
    }
    if request.simulation.filter != "off":
        body["prompt_filter_results"] = prompt_filter_results()
    body["system_fingerprint"] = FINGERPRINT
    if not request.simulation.no_usage:
        body["usage"] = usage
    return Whole(encode(body) + b"\n", usage["completion_tokens"])


def _prompt(request: ModelRequest) -> Prompt:
    body, messages = request.body, request.required("messages")
    schema = None
    match body.get("response_format"):
        case {"type": "json_schema", "json_schema": {"schema": schema}}:
            pass
        case {"type": "json_object"}:
            schema = {"properties": {"answer": {"type": "string"}}}
    stop = body.get("stop") or ()
    return Prompt(
        text=text_of(messages),
        tools=_tools(body, messages),
        parallel=body.get("parallel_tool_calls") is not False,
        schema=schema,
        limit=body.get("max_completion_tokens") or body.get("max_tokens"),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        reasoning=reasoning_tokens(body.get("reasoning_effort")) if request.reasons else 0,
        length=request.simulation.tokens,
    )


def _tools(body: Json, messages: list[Json]) -> tuple[Tool, ...]:
    """Return the tools to call: none after a tool's result, so that an agent's loop ends."""
    choice = body.get("tool_choice")
    if choice == "none" or messages[-1].get("role") == "tool":
        return ()
    named = choice["function"]["name"] if isinstance(choice, dict) and "function" in choice else None
    functions = (tool["function"] for tool in body.get("tools") or () if "function" in tool)
    return tuple(
        Tool(function["name"], function.get("parameters") or {})
        for function in functions
        if named in (None, function["name"])
    )


def _usage(prompt: Prompt, answers: list[Answer]) -> Json:
    completion = sum(answer.tokens for answer in answers)
    reasoning = sum(answer.reasoning_tokens for answer in answers)
    return chat_usage(prompt.tokens, prompt.cached_tokens, completion, reasoning)


def _choice(answer: Answer, index: int, filter_mode: str) -> Json:
    choice: Json = {"finish_reason": answer.finish_reason, "index": index, "logprobs": None}
    if filter_mode != "off":
        choice = {"content_filter_results": answer_filter("high" if answer.filtered else "safe")} | choice
    if answer.filtered:
        return choice
    message: Json = {
        "annotations": [],
        "content": None if answer.refused or answer.tool_calls else answer.text,
        "refusal": answer.text if answer.refused else None,
        "role": "assistant",
    }
    if answer.tool_calls:
        message["tool_calls"] = [
            {"function": {"arguments": call.arguments, "name": call.name}, "id": call.id, "type": "function"}
            for call in answer.tool_calls
        ]
    return choice | {"message": message}


class _Chunks:
    """The chunks of one stream, which share id, model and time."""

    def __init__(self, request: ModelRequest, wants_usage: bool) -> None:
        self.filter_mode = request.simulation.filter
        self._obfuscates = request.obfuscates
        self._usage: Json = {"usage": None} if wants_usage else {}
        self._known = {"created": now(), "id": identifier("chatcmpl-"), "model": request.model}

    def prompt_findings(self) -> bytes:
        found = {"prompt_filter_results": prompt_filter_results()}
        return _event({"choices": []} | _UNNAMED | found | self._usage)

    def findings(self, index: int, start: int, end: int, filtered: bool) -> bytes:
        """Return a chunk without delta: the async filter's findings between two offsets of a choice."""
        choice = {
            "content_filter_offsets": {"check_offset": start, "start_offset": start, "end_offset": end},
            "content_filter_results": answer_filter("high" if filtered else "safe"),
            "finish_reason": "content_filter" if filtered else None,
            "index": index,
        }
        return _event({"choices": [choice]} | _UNNAMED | self._usage)

    def delta(self, index: int, delta: Json, finish_reason: str | None = None, severity: str | None = None) -> bytes:
        return self._template(index, delta, finish_reason, severity).fill(*self._padding(""))

    def tokens(self, index: int, delta: Json) -> Callable[[str], bytes]:
        """Return a function that makes a chunk of a token; `delta` has a hole for the token."""
        fill = self._template(index, delta, severity="safe").fill
        return lambda token: fill(encode(token), *self._padding(token))

    def totals(self, usage: Json) -> bytes:
        return Template(self._chunk([]) | {"usage": usage}).fill(*self._padding(""))

    def _template(
        self, index: int, delta: Json, finish_reason: str | None = None, severity: str | None = None
    ) -> Template:
        choice: Json = {"delta": delta, "finish_reason": finish_reason, "index": index, "logprobs": None}
        if self.filter_mode == "sync":
            choice = {"content_filter_results": answer_filter(severity) if severity else {}} | choice
        return Template(self._chunk([choice]) | self._usage)

    def _chunk(self, choices: list[Json]) -> Json:
        padding = {"obfuscation": Template.HOLE} if self._obfuscates else {}
        kind = {"object": "chat.completion.chunk", "system_fingerprint": FINGERPRINT}
        return {"choices": choices} | self._known | padding | kind

    def _padding(self, token: str) -> tuple[bytes, ...]:
        return (obfuscation(token),) if self._obfuscates else ()


_UNNAMED: Json = {"created": 0, "id": "", "model": "", "object": ""}


def _event(chunk: Json) -> bytes:
    return b"data: " + encode(chunk) + b"\n\n"


def _events(chunks: _Chunks, answers: list[Answer], totals: Json | None) -> Iterator[Event]:
    if chunks.filter_mode != "off":
        yield Event(chunks.prompt_findings())
    choices = [_choice_events(chunks, answer, index) for index, answer in enumerate(answers)]
    yield from filter(None, chain.from_iterable(zip_longest(*choices)))
    if totals is not None:
        yield Event(chunks.totals(totals))
    yield DONE


def _choice_events(chunks: _Chunks, answer: Answer, index: int) -> Iterator[Event]:
    role: Json = {"content": None if answer.tool_calls else "", "refusal": None, "role": "assistant"}
    if len(answer.tool_calls) != 1:
        yield Event(chunks.delta(index, role))
    offsets = _Offsets(chunks, index)
    chunk = chunks.tokens(index, {"refusal" if answer.refused else "content": Template.HOLE})
    for piece in answer.pieces:
        yield Event(chunk(piece), generated=True)
        yield from offsets.after(piece)
    for number, call in enumerate(answer.tool_calls):
        function = {
            "function": {"arguments": "", "name": call.name},
            "id": call.id,
            "index": number,
            "type": "function",
        }
        opening = role if len(answer.tool_calls) == 1 else {}
        yield Event(chunks.delta(index, opening | {"tool_calls": [function]}), generated=True)
        chunk = chunks.tokens(index, {"tool_calls": [{"function": {"arguments": Template.HOLE}, "index": number}]})
        yield from (Event(chunk(piece), generated=True) for piece in call.pieces)
    if answer.filtered and chunks.filter_mode == "async":
        yield from offsets.rest(filtered=True)
        return
    yield Event(chunks.delta(index, {}, answer.finish_reason, "high" if answer.filtered else None))
    yield from offsets.rest()


@dataclass
class _Offsets:
    """The async filter's position in one choice; other filters send no findings of their own."""

    chunks: _Chunks
    index: int
    start: int = 0
    end: int = 0
    pending: int = 0

    def after(self, piece: str) -> Iterator[Event]:
        self.end += len(piece)
        self.pending += 1
        if self.pending == _OFFSETS_EVERY:
            yield from self.rest()

    def rest(self, filtered: bool = False) -> Iterator[Event]:
        if self.chunks.filter_mode == "async":
            yield Event(self.chunks.findings(self.index, self.start, self.end, filtered))
        self.start, self.pending = self.end, 0
