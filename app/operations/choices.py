"""The choices of chat completions and completions, merged from deltas or read whole."""

from io import StringIO
from typing import Final

from app.operations.content_filter import note_choice, note_prompt_results
from app.operations.operation import Json, StreamReader
from app.operations.room import Room
from app.operations.wire import as_count, as_list, as_object, as_text, read_usage, whole_characters
from otel.call import Answer, Choice, ToolCall

_IDENTITY: Final = ("id", "model", "service_tier", "system_fingerprint")
_TEXTS: Final = frozenset({"content", "refusal", "reasoning_content", "reasoning"})


def read_choices(body: Json, member: str, answer: Answer) -> None:
    """Read a whole answer; `member` of a choice holds its output: `message` or `text`."""
    _read_identity(body, answer)
    note_prompt_results(answer.content_filter, body.get("prompt_filter_results"))
    for entry in as_list(body.get("choices")):
        choice, building = as_object(entry), _Building(Room(2**63))
        building.add(choice.get(member))
        building.finish_reason = as_text(choice.get("finish_reason"))
        answer.choices.append(building.choice(as_count(choice.get("index")) or 0))
        note_choice(answer.content_filter, choice)
    answer.choices.sort(key=lambda choice: choice.index)
    answer.usage = read_usage(body.get("usage"))


class ChoiceStream(StreamReader):
    """Merges chunks, whose choices have a `delta` or a `text` as their `member`; only [DONE] ends the stream."""

    def __init__(self, member: str) -> None:
        self._member = member
        self.room = Room()
        self._gathered = Answer()
        self._building: dict[int, _Building] = {}
        self._last_choice: _Building | None = None
        self._last: Json = {}

    def event(self, event: Json) -> bool:
        """Read one chunk."""
        token, gathered = False, self._gathered
        self.only_text = None
        if event.get("id") or event.get("model"):  # content filter chunks have neither
            if not self._last:
                _read_identity(event, gathered)
            self._last = {name: event.get(name) for name in _IDENTITY}
        if "prompt_filter_results" in event:
            note_prompt_results(gathered.content_filter, event["prompt_filter_results"])
        choices = as_list(event.get("choices"))
        for entry in choices:
            choice = as_object(entry)
            index = choice.get("index")
            building = self._building.get(index) if type(index) is int else None
            if building is None:
                building = self._building.setdefault(as_count(index) or 0, _Building(self.room))
            token |= building.add(choice.get(self._member))
            if len(choices) == 1:
                self._last_choice, self.only_text = building, _only_text(choice.get(self._member))
            if reason := choice.get("finish_reason"):
                building.finish_reason = as_text(reason) or building.finish_reason
            note_choice(gathered.content_filter, choice)
        if usage := event.get("usage"):
            gathered.usage = read_usage(usage) or gathered.usage
        return token

    def add_text(self, text: str) -> None:
        """Read a chunk that differs from the last one only in its text."""
        if self._last_choice is not None:
            self._last_choice.add(text)

    def finish(self, answer: Answer) -> bool:
        """Write the merged answer."""
        gathered = self._gathered
        _read_identity(self._last, gathered)
        answer.id, answer.model = gathered.id, gathered.model
        answer.service_tier, answer.system_fingerprint = gathered.service_tier, gathered.system_fingerprint
        answer.usage, answer.content_filter = gathered.usage, gathered.content_filter
        answer.choices = [self._building[index].choice(index) for index in sorted(self._building)]
        return False


class _Building:
    """One choice so far.

    Text goes into buffers: appending to a string 20,000 times copies it 20,000 times, and a list of 20,000 small
    strings takes ten times the memory.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self._texts: dict[str, StringIO] = {}
        self._transcript: list[str] = []
        self._audio_id: str | None = None
        self._tools: list[_Tool] = []
        self.finish_reason: str | None = None

    def add(self, output: object) -> bool:
        """Add a delta, a message or a text; True if it holds generated output."""
        token = False
        if isinstance(output, dict):
            for name, value in output.items():
                if isinstance(value, str):
                    if value and name in _TEXTS:
                        self._write(name, value)
                        token = True
                elif value:
                    token |= self._add_other(name, value)
        elif isinstance(output, str) and output:
            self._write("content", output)
            token = True
        return token

    def _write(self, name: str, text: str) -> None:
        buffer = self._texts.get(name)
        if buffer is None:
            buffer = self._texts[name] = StringIO()
        buffer.write(self._room.keep(text))

    def _text(self, name: str) -> str:
        return whole_characters(self._texts[name].getvalue()) if name in self._texts else ""

    def _add_other(self, name: str, value: object) -> bool:
        match name:
            case "tool_calls":
                for entry in as_list(value):
                    self._add_tool(as_object(entry))
                return bool(as_list(value))
            case "function_call":  # the predecessor of tools: one call without an id
                self._tool(-1, None, new=False).add(as_object(value), self._room)
                return True
            case "content":  # in parts, as some servers send it
                texts = [as_text(as_object(part).get("text")) or "" for part in as_list(value)]
                self._write("content", "".join(texts))
                return any(texts)
            case "audio":
                return self._add_audio(as_object(value))
        return False

    def _add_audio(self, audio: Json) -> bool:
        self._audio_id = as_text(audio.get("id")) or self._audio_id
        transcript = as_text(audio.get("transcript"))
        if transcript:
            self._transcript.append(self._room.keep(transcript))
        return bool(transcript)

    def _add_tool(self, piece: Json) -> None:
        function = as_object(piece.get("function") or piece.get("custom"))
        call_id = as_text(piece.get("id")) or None
        tool = self._tool(as_count(piece.get("index")), call_id, new=bool(call_id or function.get("name")))
        tool.add(function, self._room)

    def _tool(self, index: int | None, call_id: str | None, new: bool) -> "_Tool":
        """The call that a piece belongs to: that of its index, unless its id says that it is another.

        A piece without an index belongs to the last call, unless it begins a `new` one.
        """
        if index is None:
            found = self._tools[-1] if self._tools and not new else None
        else:
            found = next((tool for tool in reversed(self._tools) if tool.index == index), None)
            if found is not None and call_id and found.call.id not in (None, call_id):
                found = None
        if found is None:
            found = _Tool(len(self._tools) if index is None else index)
            self._tools.append(found)
        found.call.id = call_id or found.call.id
        return found

    def choice(self, index: int) -> Choice:
        """The choice so far. A transcript is its content where it has no other."""
        return Choice(
            index=index,
            content=self._text("content") or whole_characters("".join(self._transcript)),
            refusal=self._text("refusal"),
            reasoning=self._text("reasoning_content") or self._text("reasoning"),
            tool_calls=[tool.whole() for tool in sorted(self._tools, key=lambda tool: tool.index)],
            finish_reason=self.finish_reason,
            audio_id=self._audio_id,
        )


class _Tool:
    """A tool call so far."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.call = ToolCall()
        self._arguments: list[str] = []

    def add(self, function: Json, room: Room) -> None:
        """Add what a piece says of the function, or of the custom tool."""
        self.call.name += as_text(function.get("name")) or ""
        piece = as_text(function.get("arguments")) or as_text(function.get("input")) or ""
        self._arguments.append(room.keep(piece))

    def whole(self) -> ToolCall:
        """The call with the arguments that arrived."""
        return ToolCall(self.call.id, self.call.name, whole_characters("".join(self._arguments)))


def _only_text(output: object) -> str | None:
    """The text of a delta that holds nothing else; a bare text itself."""
    if isinstance(output, dict):
        if [name for name, value in output.items() if value] != ["content"]:
            return None
        output = output["content"]
    return as_text(output)


def _read_identity(body: Json, answer: Answer) -> None:
    """Id, model and the like; an empty value never replaces another."""
    answer.id = as_text(body.get("id")) or answer.id
    answer.model = as_text(body.get("model")) or answer.model
    answer.service_tier = as_text(body.get("service_tier")) or answer.service_tier
    answer.system_fingerprint = as_text(body.get("system_fingerprint")) or answer.system_fingerprint
