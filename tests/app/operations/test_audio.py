"""Audio: text and usage in both directions, never the audio."""

import json
from typing import Any

import pytest

from otel import attributes as a
from otel.call import Choice, Usage
from tests.app.operations.conftest import Through
from tests.app.operations.shapes import SSE, named, operation, streamed, whole

AUDIO = b"\xff\xfb\x90\x64" + bytes(range(256)) * 200
USAGE = {
    "type": "tokens",
    "input_tokens": 14,
    "input_token_details": {"text_tokens": 10, "audio_tokens": 4},
    "output_tokens": 5,
    "total_tokens": 19,
}
COUNTS = {
    "prompt_tokens": 14,
    "completion_tokens": 5,
    "total_tokens": 19,
    "input_token_details": {"text_tokens": 10, "audio_tokens": 4},
}
SPEECH = "/openai/deployments/voice/audio/speech?api-version=2025-03-01-preview"
TRANSCRIPTIONS = "/openai/deployments/ear/audio/transcriptions?api-version=2025-03-01-preview"
TRANSLATIONS = "/openai/deployments/ear/audio/translations?api-version=2025-03-01-preview"
FORM = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.mp3"\r\n\r\n' + AUDIO + b"\r\n--b--\r\n"
FORM_TYPE = "multipart/form-data; boundary=b"


def transcript(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": f"transcript.text.{kind}", **more}


DELTAS = [transcript("delta", delta="Hello", logprobs=[]), transcript("delta", delta=", you ✨")]
DONE = transcript("done", text="Hello, you ✨.", usage=USAGE)


def test_facts_of_a_speech_request_are_read() -> None:
    """The text is the prompt, with instructions; stream_format sse is a stream."""
    body = {"model": "tts", "input": "Hello", "voice": "alloy", "instructions": "Softly.", "stream_format": "sse"}
    request = operation("audio/speech").read_request(body)
    assert (request.model, request.prompt, request.instructions) == ("tts", '"Hello"', '"Softly."')
    assert request.stream is True
    assert request.parameters == {a.OUTPUT_TYPE: "speech"}
    assert operation("audio/speech").read_request({"input": "x", "stream_format": "audio"}).stream is False


def test_speech_passes_and_is_not_recorded(through: Through) -> None:
    """Audio passes byte for byte; the record has the text and the size."""
    pieces = [AUDIO[at : at + 1000] for at in range(0, len(AUDIO), 1000)]
    record = through(SPEECH, {"model": "tts", "input": "Hello", "instructions": "Softly."}, pieces, "audio/mpeg")
    assert (record["operation"], record["type"], record["status"]) == ("speech", "completion", "completed")
    assert (record["prompt"], record["instructions"], record["content"]) == ("Hello", "Softly.", "")
    assert (record["usage"], record["response_bytes"]) == (None, len(AUDIO))


def test_speech_events_are_not_recorded(through: Through) -> None:
    """Audio within events is not recorded; the last event has the usage."""
    events = [
        *(named({"type": "speech.audio.delta", "audio": "UklGRlNPVU5E" * 500}) for _ in range(3)),
        named({"type": "speech.audio.done", "usage": USAGE}),
    ]
    record = through(SPEECH, {"input": "Hello", "stream_format": "sse"}, events, SSE)
    assert (record["type"], record["status"], record["chunks"]) == ("stream_completion", "completed", 4)
    assert record["usage"] == COUNTS
    assert len(json.dumps(record)) < 2000


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        (USAGE, Usage(14, 5, 19, {"input_token_details": {"text_tokens": 10, "audio_tokens": 4}})),
        ({"type": "duration", "seconds": 7.2}, None),
        (None, None),
    ],
)
def test_a_transcript_is_content(usage: object, counted: Usage | None) -> None:
    """The text is the content; only usage in tokens is read."""
    answer = whole("audio/transcriptions", {"text": "Hello", "usage": usage, "segments": [{"text": "Hel"}]})
    assert answer.choices == [Choice(content="Hello")]
    assert answer.usage == counted
    assert whole("audio/translations", {"text": ""}).choices == [Choice()]
    assert whole("audio/translations", {"text": 1}).choices == []


def test_transcript_events_are_joined() -> None:
    """Deltas are joined; the last event has the whole text and the usage; segments count if there is nothing else."""
    answer, ended = streamed("audio/transcriptions", *DELTAS, DONE)
    assert (answer.choices, ended) == ([Choice(content="Hello, you ✨.")], True)
    answer, ended = streamed("audio/transcriptions", *DELTAS)
    assert (answer.choices, ended, answer.usage) == ([Choice(content="Hello, you ✨")], False, None)
    segments = [transcript("segment", speaker="A", text="Hello."), transcript("segment", speaker="B", text=" Hi.")]
    assert streamed("audio/transcriptions", *segments)[0].choices == [Choice(content="Hello. Hi.")]
    assert streamed("audio/transcriptions", *segments, *DELTAS)[0].choices == [Choice(content="Hello, you ✨")]
    reader = operation("audio/transcriptions").stream()
    tokens = [transcript("delta", delta=""), DELTAS[0], segments[0], DONE]
    assert [reader.event(one) for one in tokens] == [False, True, True, False]


@pytest.mark.parametrize(("path", "name"), [(TRANSCRIPTIONS, "transcription"), (TRANSLATIONS, "translation")])
def test_a_recording_passes_unread(through: Through, path: str, name: str) -> None:
    """A form with audio reaches upstream byte for byte; the record has the text of the JSON answer."""
    body = json.dumps({"text": "Hello, you ✨.", "usage": USAGE}).encode()
    record = through(path, FORM, body, sent_type=FORM_TYPE)
    assert (record["operation"], record["type"], record["status"]) == (name, "completion", "completed")
    assert (record["prompt"], record["content"], record["usage"]) == (None, "Hello, you ✨.", COUNTS)
    assert (record["request_bytes"], record["deployment"], record["model"]) == (len(FORM), "ear", "ear")


def test_a_transcript_stream_is_recognized_by_its_response(through: Through) -> None:
    """The form is not read: the response shows that it is a stream, and the record has a stream's times."""
    events = [*map(named, DELTAS), named(DONE)]
    record = through(TRANSCRIPTIONS, FORM, events, SSE, sent_type=FORM_TYPE)
    assert (record["type"], record["stream"], record["status"]) == ("stream_completion", True, "completed")
    assert (record["content"], record["usage"], record["chunks"]) == ("Hello, you ✨.", COUNTS, 3)
    assert record["time_to_first_chunk_ms"] <= record["time_to_first_token_ms"]


def test_a_plain_text_transcript_is_not_read(through: Through) -> None:
    """Text and subtitles pass unchanged and are not recorded."""
    record = through(TRANSCRIPTIONS, FORM, "Hello ✨\n".encode(), "text/plain; charset=utf-8", sent_type=FORM_TYPE)
    assert (record["content"], record["usage"], record["status"]) == ("", None, "completed")
