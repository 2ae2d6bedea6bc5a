"""Audio: text to speech, and speech to text; the words are recorded, never the sound.

Recordings come as forms, which pass through unread: what was asked is known by the path and the answer alone.
"""

from app.operations.operation import Json, Operation, StreamReader
from app.operations.wire import as_text, json_of, read_usage
from otel import attributes as a
from otel.call import Answer, Choice, Request, Usage


class Speech(Operation):
    """`POST …/audio/speech`: JSON in; sound out, as it is or within server-sent events."""

    name = "speech"
    json_answer = False

    def read_request(self, body: Json) -> Request:
        """Model, the text to speak, how to speak it, and whether events are wanted."""
        return Request(
            model=as_text(body.get("model")),
            stream=body.get("stream_format") == "sse",
            prompt=json_of(body, "input"),
            instructions=json_of(body, "instructions") if body.get("instructions") else None,
            parameters={a.OUTPUT_TYPE: "speech"},
        )

    def stream(self) -> StreamReader:
        """A reader of `speech.audio.*` events."""
        return _AudioStream()


class Transcription(Operation):
    """`POST …/audio/transcriptions`, answered by JSON or events, whose text is the content; or by text, which is not
    read. Usage counted in seconds of sound, not in tokens, is none that a record has a place for."""

    name = "transcription"
    json_body = False

    def read_answer(self, body: Json, answer: Answer) -> None:
        """The text and the usage."""
        answer.usage = read_usage(body.get("usage"))
        text = as_text(body.get("text"))
        if text is not None:
            answer.choices = [Choice(content=text)]

    def stream(self) -> StreamReader:
        """A reader of `transcript.text.*` events."""
        return _AudioStream()


class Translation(Transcription):
    """`POST …/audio/translations`, which are transcriptions in English."""

    name = "translation"


class _AudioStream(StreamReader):
    """Joins deltas and segments; the last event, `….done`, has the whole text again, and the usage."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._segments: list[str] = []
        self._whole: str | None = None
        self._usage: Usage | None = None
        self._ended = False

    def event(self, event: Json) -> bool:
        match event.get("type"):
            case "transcript.text.delta":
                piece = as_text(event.get("delta"))
                self._pieces.append(piece or "")
                return bool(piece)
            case "transcript.text.segment":  # who speaks and when, sent beside the deltas or in their place
                segment = as_text(event.get("text"))
                self._segments.append(segment or "")
                return bool(segment)
            case "transcript.text.done" | "speech.audio.done":
                self._ended = True
                self._whole = as_text(event.get("text"))
                self._usage = read_usage(event.get("usage"))
        return False

    def finish(self, answer: Answer) -> bool:
        answer.usage = self._usage
        text = "".join(self._pieces or self._segments) if self._whole is None else self._whole
        if text:
            answer.choices = [Choice(content=text)]
        return self._ended
