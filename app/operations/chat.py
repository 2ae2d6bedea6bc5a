"""Chat completions: requests, whole answers and streams of deltas become facts."""

from collections.abc import Mapping

from app.operations.json_text import dump
from app.operations.operation import Json, StreamReader
from app.operations.wire import as_count, as_list, as_object, as_text, parameters, read_usage
from otel.call import Answer, Choice, Request, ToolCall


class Chat:
    """`POST …/chat/completions`, JSON and server-sent events."""

    name = "chat"
    api_type: str | None = "chat_completions"
    json_body = True

    def read_request(self, body: Json) -> Request:
        """Model, stream, messages and sampling parameters."""
        return Request(
            model=as_text(body.get("model")),
            stream=body.get("stream") is True,
            prompt=dump(body["messages"]) if "messages" in body else None,
            parameters=parameters(body),
        )

    def read_answer(self, body: Json, answer: Answer) -> None:
        """Choices, usage, filter verdicts and identity of a `chat.completion`."""
        _read_identity(body, answer)
        _read_prompt_filter(body, answer)
        for entry in as_list(body.get("choices")):
            choice = as_object(entry)
            message = as_object(choice.get("message"))
            answer.choices.append(
                Choice(
                    index=as_count(choice.get("index")) or 0,
                    content=as_text(message.get("content")) or "",
                    refusal=as_text(message.get("refusal")) or "",
                    reasoning=as_text(message.get("reasoning_content")) or "",
                    tool_calls=[_tool_call(as_object(call)) for call in as_list(message.get("tool_calls"))],
                    finish_reason=as_text(choice.get("finish_reason")),
                )
            )
            _read_answer_filter(choice, answer)
        answer.choices.sort(key=lambda choice: choice.index)
        answer.usage = read_usage(body.get("usage"))

    def stream(self) -> StreamReader:
        """A reader of `chat.completion.chunk` events."""
        return _ChatStream()


class _ChatStream:
    """Merges deltas. Text is kept in lists, because adding to a string 20,000 times copies it 20,000 times."""

    def __init__(self) -> None:
        self._answer = Answer()
        self._texts: dict[int, _Texts] = {}

    def event(self, event: Json) -> bool:
        answer, token = self._answer, False
        _read_identity(event, answer)
        _read_prompt_filter(event, answer)
        for entry in as_list(event.get("choices")):
            choice = as_object(entry)
            texts = self._texts.setdefault(as_count(choice.get("index")) or 0, _Texts())
            token |= texts.add(as_object(choice.get("delta")))
            texts.finish_reason = as_text(choice.get("finish_reason")) or texts.finish_reason
            _read_answer_filter(choice, answer)
        if event.get("usage") is not None:
            answer.usage = read_usage(event["usage"])
        return token

    def finish(self, answer: Answer) -> bool:
        gathered = self._answer
        answer.id, answer.model = gathered.id, gathered.model
        answer.usage, answer.content_filter = gathered.usage, gathered.content_filter
        answer.service_tier, answer.system_fingerprint = gathered.service_tier, gathered.system_fingerprint
        answer.choices = [self._texts[index].choice(index) for index in sorted(self._texts)]
        return False  # only [DONE] ends this stream


class _Texts:
    """What the deltas of one choice have said so far."""

    def __init__(self) -> None:
        self.content: list[str] = []
        self.refusal: list[str] = []
        self.reasoning: list[str] = []
        self.tools: dict[int, tuple[ToolCall, list[str]]] = {}
        self.finish_reason: str | None = None

    def add(self, delta: Json) -> bool:
        """Take one delta; True if it holds anything generated."""
        token = False
        for name, parts in (
            ("content", self.content),
            ("refusal", self.refusal),
            ("reasoning_content", self.reasoning),
        ):
            if text := as_text(delta.get(name)):
                parts.append(text)
                token = True
        for entry in as_list(delta.get("tool_calls")):
            self._add_tool(as_object(entry))
            token = True
        return token

    def _add_tool(self, piece: Mapping[str, object]) -> None:
        index = as_count(piece.get("index"))
        call, arguments = self.tools.setdefault(len(self.tools) if index is None else index, (ToolCall(), []))
        function = as_object(piece.get("function"))
        call.id = as_text(piece.get("id")) or call.id
        call.name += as_text(function.get("name")) or ""
        arguments.append(as_text(function.get("arguments")) or "")

    def choice(self, index: int) -> Choice:
        tools = [self.tools[position] for position in sorted(self.tools)]
        return Choice(
            index=index,
            content="".join(self.content),
            refusal="".join(self.refusal),
            reasoning="".join(self.reasoning),
            tool_calls=[ToolCall(call.id, call.name, "".join(arguments)) for call, arguments in tools],
            finish_reason=self.finish_reason,
        )


def _tool_call(call: Mapping[str, object]) -> ToolCall:
    function = as_object(call.get("function"))
    return ToolCall(
        id=as_text(call.get("id")),
        name=as_text(function.get("name")) or "",
        arguments=as_text(function.get("arguments")) or "",
    )


def _read_identity(body: Json, answer: Answer) -> None:
    """Id, model and the like; Azure's first chunk has them empty, and an empty one never replaces another."""
    answer.id = as_text(body.get("id")) or answer.id
    answer.model = as_text(body.get("model")) or answer.model
    answer.service_tier = as_text(body.get("service_tier")) or answer.service_tier
    answer.system_fingerprint = as_text(body.get("system_fingerprint")) or answer.system_fingerprint


def _read_prompt_filter(body: Json, answer: Answer) -> None:
    for entry in as_list(body.get("prompt_filter_results")):
        if verdict := as_object(as_object(entry).get("content_filter_results")):
            answer.content_filter["prompt"] = verdict


def _read_answer_filter(choice: Json, answer: Answer) -> None:
    """Verdicts of later chunks are about more text, so they replace those of earlier ones, unless these blocked."""
    verdict = as_object(choice.get("content_filter_results"))
    if not verdict:
        return
    known = answer.content_filter.setdefault("completion", {})
    if isinstance(known, dict):
        for category, result in verdict.items():
            if not as_object(known.get(category)).get("filtered"):
                known[category] = result
