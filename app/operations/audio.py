"""Audio: text to speech and speech to text. The text is recorded, never the audio.

Recordings arrive as forms, of which the small fields are read.
"""

from collections.abc import Mapping, Set

from app.operations.json_text import load
from app.operations.operation import Json, Operation, StreamReader
from app.operations.room import Room
from app.operations.wire import as_object, as_text, form_request, json_of, read_usage
from otel import attributes as a
from otel.call import Answer, Choice, Request


class Speech(Operation):
    """`POST …/audio/speech`: JSON in, audio out, raw or in server-sent events."""

    name = "speech"
    json_answer = False
    other_answers = True
    billed_by_units = True

    def recorded_apart(self, body: Json) -> Set[str]:
        """The text and the instructions."""
        return {"input", "instructions"} if body.get("instructions") else {"input"}

    def read_request(self, body: Json) -> Request:
        """Model, text, instructions, and whether to stream events."""
        return Request(
            model=as_text(body.get("model")),
            stream=body.get("stream_format") == "sse",
            prompt=json_of(body, "input"),
            instructions=json_of(body, "instructions") if body.get("instructions") else None,
            parameters={a.OUTPUT_TYPE: "speech"},
        )

    def note_units(self, request: Request, answer: Answer) -> None:
        """The characters spoken."""
        prompt = request.prompt
        text = load(prompt.encode("utf-8", "surrogatepass")) if isinstance(prompt, str) else None
        if isinstance(text, str) and text:
            answer.units["characters"] = len(text)

    def stream(self) -> StreamReader:
        """A reader of `speech.audio.*` events."""
        return _AudioStream()


class Transcription(Operation):
    """`POST …/audio/transcriptions`. The text of JSON or events is the content; plain text is not read.

    Usage is in tokens, or in seconds of sound.
    """

    name = "transcription"
    json_body = False
    form = True
    billed_by_units = True
    other_answers = True
    answer_members = frozenset({"text", "segments", "usage"})

    def read_form(self, fields: Mapping[str, str]) -> Request:
        """Model, stream, temperature, and the prompt that guides the transcription."""
        return form_request(fields)

    def read_answer(self, body: Json, answer: Answer) -> None:
        """The text and the usage."""
        note_usage(body, answer)
        text = as_text(body.get("text"))
        if text is not None:
            answer.choices = [Choice(content=text)]

    def stream(self) -> StreamReader:
        """A reader of `transcript.text.*` events."""
        return _AudioStream()


def note_usage(body: Json, answer: Answer) -> None:
    """Tokens, or else seconds of sound: as usage, or as the duration that whisper tells."""
    answer.usage = read_usage(body.get("usage"))
    seconds = as_object(body.get("usage")).get("seconds", body.get("duration"))
    if answer.usage is None and type(seconds) in (int, float) and seconds > 0:  # type: ignore[operator]
        answer.units["audio_seconds"] = seconds  # type: ignore[assignment]


class Translation(Transcription):
    """`POST …/audio/translations`: transcriptions in English."""

    name = "translation"


class _AudioStream(StreamReader):
    """Joins deltas and segments; the last event, `….done`, repeats the whole text and has the usage."""

    def __init__(self) -> None:
        self.room = Room()
        self._pieces: list[str] = []
        self._segments: list[str] = []
        self._whole: str | None = None
        self._done: Json = {}
        self._ended = False

    def event(self, event: Json) -> bool:
        match event.get("type"):
            case "transcript.text.delta":
                piece = as_text(event.get("delta"))
                self._pieces.append(self.room.keep(piece or ""))
                return bool(piece)
            case "transcript.text.segment":  # with speaker and time, in addition to the deltas or instead
                segment = as_text(event.get("text"))
                self._segments.append(self.room.keep(segment or ""))
                return bool(segment)
            case "transcript.text.done" | "speech.audio.done":
                self._ended = True
                self._whole = as_text(event.get("text"))
                self._done = event
        return False

    def finish(self, answer: Answer) -> bool:
        note_usage(self._done, answer)
        text = "".join(self._pieces or self._segments) if self._whole is None else self._whole
        if text:
            answer.choices = [Choice(content=text)]
        return self._ended
