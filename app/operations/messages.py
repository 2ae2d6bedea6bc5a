"""Claude's Messages API: messages in, blocks of content out."""

from collections.abc import Mapping, Set
from typing import Any, Final

from app.operations.json_text import dump
from app.operations.operation import Json, Operation, StreamReader
from app.operations.room import Room
from app.operations.wire import as_count, as_list, as_object, as_text, json_of, parameters, whole_characters
from otel import attributes as a
from otel.call import Answer, Choice, HostedCall, Request, ToolCall, Usage

_REASONS: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""Stop reasons in the terms of chat completions."""
_WRITES: Final = "cache_creation_input_tokens"
_KINDS: Final = {"text": "text", "thinking": "thinking", "partial_json": "tool_use"}
_READS: Final = "cache_read_input_tokens"


class Messages(Operation):
    """`POST …/v1/messages`, JSON and server-sent events; nothing is injected.

    Content joins the texts, reasoning the thinking that is not redacted; citations are left out. Tools that the service
    runs are hosted calls. The prompt's tokens are those sent, written to the cache and read from it.
    """

    name = "chat"
    api_type = "messages"
    answer_members = frozenset({"content", "usage"})

    def recorded_apart(self, body: Json) -> Set[str]:
        """The messages, and the system prompt."""
        return {"messages", *(["system"] if body.get("system") else [])}

    def read_request(self, body: Json) -> Request:
        """Model, stream, messages, system prompt and sampling parameters."""
        wanted = parameters(body)
        stops = tuple(text for text in as_list(body.get("stop_sequences")) if isinstance(text, str))
        if stops:
            wanted[a.REQUEST_STOP_SEQUENCES] = stops
        return Request(
            model=as_text(body.get("model")),
            stream=body.get("stream") is True,
            prompt=json_of(body, "messages"),
            instructions=json_of(body, "system") if body.get("system") else None,
            parameters=wanted,
        )

    def read_answer(self, body: Json, answer: Answer) -> None:
        """Blocks, usage and identity of a `message`."""
        answer.id = as_text(body.get("id"))
        answer.model = as_text(body.get("model"))
        usage = as_object(body.get("usage"))
        answer.usage = read_message_usage(usage)
        answer.service_tier = as_text(usage.get("service_tier"))
        reason = as_text(body.get("stop_reason"))
        choice = _read_blocks([as_object(block) for block in as_list(body.get("content"))], answer)
        choice.finish_reason = _REASONS.get(reason, reason) if reason else None
        answer.choices = [choice]
        _note_units(usage, as_object(body.get("container")), answer)

    def stream(self) -> StreamReader:
        """A reader of `message_start` … `message_stop`."""
        return MessageStream(self)


class CountTokens(Messages):
    """`POST …/v1/messages/count_tokens`: a count of what was sent, which is no usage."""

    name = "count_tokens"
    answer_members = frozenset({"input_tokens"})

    def read_answer(self, body: Json, answer: Answer) -> None:
        """Nothing: the count is not billed."""


class MessageStream(StreamReader):
    """Assembles a message from its blocks; the counts of `message_delta` replace those of `message_start`."""

    def __init__(self, messages: Messages) -> None:
        self._reader = messages
        self.room = Room()
        self._message: dict[str, Any] = {}
        self._blocks: dict[int, _Block] = {}
        self._usage: dict[str, object] = {}
        self._billed = False
        self._ended = False

    def event(self, event: Json) -> bool:
        """Read one event."""
        match event.get("type"):
            case "content_block_delta":
                return self._block(event).add(as_object(event.get("delta")), self.room)
            case "content_block_start":
                block = self._block(event)
                block.begun = as_object(event.get("content_block"))
                return block.begun.get("type") == "tool_use" or bool(block.begun.get("text"))
            case "message_start":
                self._message = dict(as_object(event.get("message")))
                self._count(self._message.get("usage"))
            case "message_delta":
                self._message |= as_object(event.get("delta"))
                self._count(event.get("usage"))
                self._billed = True
            case "message_stop":
                self._ended = True
        return False

    def _block(self, event: Json) -> "_Block":
        return self._blocks.setdefault(as_count(event.get("index")) or 0, _Block())

    def _count(self, usage: object) -> None:
        self._usage |= {name: value for name, value in as_object(usage).items() if value is not None}

    def finish(self, answer: Answer) -> bool:
        """Write the message; without its last counts, what was written is not known yet."""
        blocks = [self._blocks[index].whole() for index in sorted(self._blocks)]
        self._reader.read_answer({**self._message, "content": blocks, "usage": self._usage}, answer)
        if answer.usage is not None and not self._billed:
            answer.usage.completion_tokens = answer.usage.total_tokens = None
        return self._ended


class _Block:
    """One block so far."""

    def __init__(self) -> None:
        self.begun: Json = {}
        self._pieces: dict[str, list[str]] = {}

    def add(self, delta: Json, room: Room) -> bool:
        """Extend it; True for output."""
        for name in ("text", "thinking", "partial_json"):
            if isinstance(piece := delta.get(name), str):
                self._pieces.setdefault(name, []).append(room.keep(piece))
                return piece != ""
        return False

    def whole(self) -> Json:
        """The block in the shape of a whole message; a tool's input as the text that came of it."""
        joined = {name: whole_characters("".join(pieces)) for name, pieces in self._pieces.items()}
        for name in ("text", "thinking"):
            if name in joined:
                joined[name] = (as_text(self.begun.get(name)) or "") + joined[name]
        kind = next((_KINDS[name] for name in joined), "")  # where its start did not come
        return {"type": kind, **self.begun, **joined}


def _read_blocks(blocks: list[Json], answer: Answer) -> Choice:
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[ToolCall] = []
    hosted: dict[str | None, HostedCall] = {}
    for block in blocks:
        kind = as_text(block.get("type")) or ""
        match kind:
            case "text":
                texts.append(as_text(block.get("text")) or "")
            case "thinking":
                thoughts.append(as_text(block.get("thinking")) or "")
            case "tool_use":
                calls.append(_tool_call(block))
            case "server_tool_use" | "mcp_tool_use":
                name = "mcp" if kind == "mcp_tool_use" else as_text(block.get("name"))
                call_id = as_text(block.get("id"))
                hosted[call_id] = HostedCall(f"{name}_call", call_id)
            case _ if kind.endswith("_tool_result") and (call := hosted.get(as_text(block.get("tool_use_id")))):
                failed = block.get("is_error") is True or "error_code" in as_object(block.get("content"))
                call.status = "failed" if failed else "completed"
    answer.hosted_calls = list(hosted.values())
    return Choice(content="".join(texts), reasoning="\n\n".join(filter(None, thoughts)), tool_calls=calls)


def _tool_call(block: Json) -> ToolCall:
    written = as_text(block.get("partial_json"))
    arguments = written if written is not None else dump(block["input"]) if "input" in block else ""
    return ToolCall(as_text(block.get("id")), as_text(block.get("name")) or "", arguments)


def read_message_usage(usage: Mapping[str, object]) -> Usage | None:
    """Counts by the record's names: over all iterations, whose sum is what is billed. None without any."""
    iterations = [as_object(one) for one in as_list(usage.get("iterations"))]
    counted = [one for one in iterations if as_count(one.get("input_tokens")) is not None] or [usage]
    if as_count(counted[0].get("input_tokens")) is None:
        return None

    def total(name: str) -> int:
        return sum(as_count(one.get(name)) or 0 for one in counted)

    reads, writes, output = total(_READS), total(_WRITES), total("output_tokens")
    prompt = total("input_tokens") + reads + writes
    details: dict[str, int] = {}
    if any(name in one for one in counted for name in (_READS, _WRITES)):
        details = {"cached_tokens": reads, "cache_write_tokens": writes}
    hour = sum(as_count(as_object(one.get("cache_creation")).get("ephemeral_1h_input_tokens")) or 0 for one in counted)
    if hour:
        details["cache_write_1h_tokens"] = hour
    return Usage(prompt, output, prompt + output, {"prompt_tokens_details": details} if details else {})


def _note_units(usage: Json, container: Json, answer: Answer) -> None:
    searches = as_count(as_object(usage.get("server_tool_use")).get("web_search_requests"))
    if searches:
        answer.units["web_search_calls"] = searches
    if container.get("id") and any(call.type.endswith("code_execution_call") for call in answer.hosted_calls):
        answer.units["code_sessions"] = 1
