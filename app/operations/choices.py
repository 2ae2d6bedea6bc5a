"""The choices of chat completions and completions, merged from deltas or read whole."""

from io import StringIO
from typing import Final

from app.operations.content_filter import note_prompt_results, note_verdict
from app.operations.operation import Json, StreamReader
from app.operations.wire import as_count, as_list, as_object, as_text, read_usage
from otel.call import Answer, Choice, ToolCall

_IDENTITY: Final = ("id", "model", "service_tier", "system_fingerprint")
_TEXTS: Final = frozenset({"content", "refusal", "reasoning_content"})


def read_choices(body: Json, member: str, answer: Answer) -> None:
    """Read a whole answer; `member` of a choice is what it says: a message, or a text."""
    _read_identity(body, answer)
    note_prompt_results(answer.content_filter, body.get("prompt_filter_results"))
    for entry in as_list(body.get("choices")):
        choice, said = as_object(entry), _Said()
        said.add(choice.get(member))
        said.finish_reason = as_text(choice.get("finish_reason"))
        answer.choices.append(said.choice(as_count(choice.get("index")) or 0))
        note_verdict(answer.content_filter, "completion", choice.get("content_filter_results"))
    answer.choices.sort(key=lambda choice: choice.index)
    answer.usage = read_usage(body.get("usage"))


class ChoiceStream(StreamReader):
    """Merges chunks, whose choices have a `delta` or a text as their `member`; only [DONE] ends them."""

    def __init__(self, member: str) -> None:
        self._member = member
        self._gathered = Answer()
        self._said: dict[int, _Said] = {}
        self._speaker: _Said | None = None
        self._last: Json = {}

    def event(self, event: Json) -> bool:
        """Take one chunk."""
        token, gathered = False, self._gathered
        self.only_text = None
        if event.get("id") or event.get("model"):  # chunks of Azure's filters have neither
            if not self._last:
                _read_identity(event, gathered)
            self._last = {name: event.get(name) for name in _IDENTITY}
        if "prompt_filter_results" in event:
            note_prompt_results(gathered.content_filter, event["prompt_filter_results"])
        choices = as_list(event.get("choices"))
        for entry in choices:
            choice = as_object(entry)
            index = choice.get("index")
            said = self._said.get(index) if type(index) is int else None
            if said is None:
                said = self._said.setdefault(as_count(index) or 0, _Said())
            token |= said.add(choice.get(self._member))
            if len(choices) == 1:
                self._speaker, self.only_text = said, _only_text(choice.get(self._member))
            if reason := choice.get("finish_reason"):
                said.finish_reason = as_text(reason) or said.finish_reason
            if verdict := choice.get("content_filter_results"):
                note_verdict(gathered.content_filter, "completion", verdict)
        if usage := event.get("usage"):
            gathered.usage = read_usage(usage) or gathered.usage
        return token

    def more(self, text: str) -> None:
        """Take a chunk that differs from the last one in its text."""
        if self._speaker is not None:
            self._speaker.add(text)

    def finish(self, answer: Answer) -> bool:
        """Write what was gathered."""
        gathered = self._gathered
        _read_identity(self._last, gathered)
        answer.id, answer.model = gathered.id, gathered.model
        answer.service_tier, answer.system_fingerprint = gathered.service_tier, gathered.system_fingerprint
        answer.usage, answer.content_filter = gathered.usage, gathered.content_filter
        answer.choices = [self._said[index].choice(index) for index in sorted(self._said)]
        return False


class _Said:
    """What one choice has said so far.

    Text goes into buffers: adding to a string 20,000 times would copy it 20,000 times, and a list of 20,000 small ones
    takes ten times the memory.
    """

    def __init__(self) -> None:
        self._texts: dict[str, StringIO] = {}
        self._transcript: list[str] = []
        self._audio_id: str | None = None
        self._tools: dict[int, tuple[ToolCall, list[str]]] = {}
        self.finish_reason: str | None = None

    def add(self, said: object) -> bool:
        """Take a delta, a message or a text; True if it holds anything generated."""
        token = False
        if isinstance(said, dict):
            for name, value in said.items():
                if isinstance(value, str):
                    if value and name in _TEXTS:
                        self._write(name, value)
                        token = True
                elif value:
                    token |= self._add_other(name, value)
        elif isinstance(said, str) and said:
            self._write("content", said)
            token = True
        return token

    def _write(self, name: str, text: str) -> None:
        buffer = self._texts.get(name)
        if buffer is None:
            buffer = self._texts[name] = StringIO()
        buffer.write(text)

    def _text(self, name: str) -> str:
        return self._texts[name].getvalue() if name in self._texts else ""

    def _add_other(self, name: str, value: object) -> bool:
        match name:
            case "tool_calls":
                for entry in as_list(value):
                    self._add_tool(as_object(entry))
                return bool(as_list(value))
            case "function_call":  # how it was before there were tools: one call, without an id
                self._add_function(*self._tools.setdefault(-1, (ToolCall(), [])), as_object(value))
                return True
            case "audio":
                return self._add_audio(as_object(value))
        return False

    def _add_audio(self, audio: Json) -> bool:
        self._audio_id = as_text(audio.get("id")) or self._audio_id
        transcript = as_text(audio.get("transcript"))
        if transcript:
            self._transcript.append(transcript)
        return bool(transcript)

    def _add_tool(self, piece: Json) -> None:
        index = as_count(piece.get("index"))
        call, arguments = self._tools.setdefault(len(self._tools) if index is None else index, (ToolCall(), []))
        call.id = as_text(piece.get("id")) or call.id
        self._add_function(call, arguments, as_object(piece.get("function", piece.get("custom"))))

    def _add_function(self, call: ToolCall, arguments: list[str], function: Json) -> None:
        call.name += as_text(function.get("name")) or ""
        arguments.append(as_text(function.get("arguments", function.get("input"))) or "")

    def choice(self, index: int) -> Choice:
        """The choice as far as it was said. Spoken words are its content where it has no other."""
        tools = [self._tools[position] for position in sorted(self._tools)]
        return Choice(
            index=index,
            content=self._text("content") or "".join(self._transcript),
            refusal=self._text("refusal"),
            reasoning=self._text("reasoning_content"),
            tool_calls=[ToolCall(call.id, call.name, "".join(arguments)) for call, arguments in tools],
            finish_reason=self.finish_reason,
            audio_id=self._audio_id,
        )


def _only_text(said: object) -> str | None:
    """The text of a delta that says nothing else, or of a text."""
    if isinstance(said, dict):
        if [name for name, value in said.items() if value] != ["content"]:
            return None
        said = said["content"]
    return as_text(said)


def _read_identity(body: Json, answer: Answer) -> None:
    """Id, model and the like; an empty one never replaces another."""
    answer.id = as_text(body.get("id")) or answer.id
    answer.model = as_text(body.get("model")) or answer.model
    answer.service_tier = as_text(body.get("service_tier")) or answer.service_tier
    answer.system_fingerprint = as_text(body.get("system_fingerprint")) or answer.system_fingerprint
