"""Realtime: the events of a voice session, by today's names and the preview's; each response is a turn.

A response is asked for by `response.create`, or by the service itself when it hears that speech has ended. Its prompt
is what the client added to the conversation since the response before: items, and sound by its seconds or transcript.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from app.operations.json_text import dump, load_object
from app.operations.members import Members, other_members, reduced_members
from app.operations.operation import Json
from app.operations.realtime_output import Output, sound_seconds
from app.operations.turn import Listener, SessionEvents, Turn
from app.operations.wire import as_list, as_object, as_text, read_usage
from otel.call import Choice, Request, Status

NAME: Final = "realtime"
_FIRST_SOUND: Final = frozenset({"response.output_audio.delta", "response.audio.delta"})
_TRANSCRIBED: Final = "conversation.item.input_audio_transcription."


class RealtimeSession(SessionEvents):
    """Responses run one after another, and beside each other if they are out of band."""

    def __init__(self, listener: Listener, model: str | None) -> None:
        self.model = model
        self.session_id: str | None = None
        self._listener = listener
        self._settings: dict[str, Any] = {}
        """The session's members as the client set them."""
        self._format: object = None
        self._items: list[dict[str, Any]] = []
        self._sound: dict[str, dict[str, Any]] = {}
        """The spoken items by id, which a transcript may come for."""
        self._buffered = 0
        self._speech: dict[str, int] = {}
        self._speech_ended_ns: int | None = None
        self._asked: list[Turn] = []
        """Turns without a response yet."""
        self._open: dict[str, tuple[Turn, Output]] = {}

    # what the client sends

    def sent_sound(self, size: int) -> None:
        """Sound for the buffer."""
        self._buffered += size

    def sent(self, text: bytes, at_ns: int) -> None:
        """Settings, items, and what asks for a response."""
        event = load_object(text) or {}
        match event.get("type"):
            case "session.update":
                session = dict(as_object(event.get("session")))
                self._settings |= session
                audio = as_object(as_object(session.get("audio")).get("input"))
                self._format = audio.get("format") or session.get("input_audio_format") or self._format
            case "conversation.item.create":
                self._items.append(self._without_sound(as_object(event.get("item"))))
            case "input_audio_buffer.append":
                self._buffered += len(as_text(event.get("audio")) or "") * 3 // 4
            case "input_audio_buffer.clear":
                self._buffered = 0
            case "response.create":
                turn = self._turn(as_object(event.get("response")), at_ns)
                turn.event_id = as_text(event.get("event_id"))
                self._asked.append(turn)
                self._listener.begin(turn)

    def _without_sound(self, item: Json) -> dict[str, Any]:
        """An item with the seconds of its sound in place of it."""
        parts = as_list(item.get("content"))
        if not any(isinstance(part, dict) and "audio" in part for part in parts):
            return dict(item)
        return {**item, "content": [self._part(as_object(part)) for part in parts]}

    def _part(self, part: Json) -> Json:
        if "audio" not in part:
            return part
        size = len(as_text(part["audio"]) or "") * 3 // 4
        kept = {name: value for name, value in part.items() if name != "audio"}
        return {**kept, "seconds": sound_seconds(size, self._format)}

    def _turn(self, response: Json, at_ns: int) -> Turn:
        asked = {**self._settings, **response}
        instructions = asked.pop("instructions", None)
        items = [*as_list(response.get("input")), *self._items]
        self._items = []
        turn = Turn(NAME, NAME, at_ns)
        turn.request = Request(
            model=self.model,
            stream=True,
            prompt=dump(items),
            instructions=dump(instructions) if instructions else None,
        )
        members = Members.of(dump({name: value for name, value in asked.items() if name != "input"}).encode())
        turn.members = lambda reduced: (reduced_members if reduced else other_members)(members, set())
        turn.speech_ended_ns, self._speech_ended_ns = self._speech_ended_ns, None
        turn.prompt_items = items
        return turn

    # what the service sends

    def received_sound(self, text: bytes, at_ns: int) -> None:
        """The first sound of a response is its first output that can be heard."""
        found = Output.response_id(text)
        opened = self._open.get(found) if found else None
        if opened is not None:
            turn, _ = opened
            turn.chunks += 1
            turn.first_audio_ns = turn.first_audio_ns or at_ns

    def received(self, text: bytes, at_ns: int) -> None:
        """Everything but sound."""
        event = load_object(text) or {}
        kind = as_text(event.get("type")) or ""
        if (response_id := as_text(event.get("response_id"))) is not None:
            self._output(response_id, kind, event, at_ns)
            return
        match kind:
            case "session.created" | "session.updated":
                session = as_object(event.get("session"))
                self.session_id = as_text(session.get("id")) or self.session_id
                self.model = self.model or as_text(session.get("model"))
            case "input_audio_buffer.speech_started":
                self._speech["start"] = _ms(event.get("audio_start_ms"))
            case "input_audio_buffer.speech_stopped":
                self._speech["end"] = _ms(event.get("audio_end_ms"))
                self._speech_ended_ns = at_ns
            case "input_audio_buffer.committed":
                self._commit(as_text(event.get("item_id")) or "")
            case "response.created":
                self._create(as_object(event.get("response")), at_ns)
            case "response.done":
                self._done(as_object(event.get("response")))
            case "error":
                self._error(as_object(event.get("error")))
            case _ if kind.startswith(_TRANSCRIBED):
                self._transcribed(kind.removeprefix(_TRANSCRIBED), event, at_ns)

    def _commit(self, item_id: str) -> None:
        seconds = sound_seconds(self._buffered, self._format)
        if len(self._speech) == 2:  # what the service heard as speech, without the silence around it
            seconds = max(0, self._speech["end"] - self._speech["start"]) / 1000
        self._buffered = 0
        self._speech.clear()
        part: dict[str, Any] = {"type": "input_audio", "seconds": seconds}
        self._sound[item_id] = part
        self._items.append({"type": "message", "role": "user", "content": [part]})

    def _create(self, response: Json, at_ns: int) -> None:
        if self._asked:
            turn = self._asked.pop(0)
        else:  # the service asked for it itself
            turn = self._turn({}, self._speech_ended_ns or at_ns)
            self._listener.begin(turn)
        turn.answer.id = as_text(response.get("id"))
        turn.answer.status = as_text(response.get("status"))
        turn.first_chunk_ns = at_ns
        turn.chunks += 1
        self._open[turn.answer.id or ""] = turn, Output()

    def _output(self, response_id: str, kind: str, event: Json, at_ns: int) -> None:
        opened = self._open.get(response_id)
        if opened is None:
            return
        turn, output = opened
        turn.chunks += 1
        if kind in _FIRST_SOUND:
            turn.first_audio_ns = turn.first_audio_ns or at_ns
        elif output.event(kind, event):
            turn.first_token_ns = turn.first_token_ns or at_ns

    def _done(self, response: Json) -> None:
        opened = self._open.pop(as_text(response.get("id")) or "", None)
        if opened is None:
            return
        turn, output = opened
        turn.chunks += 1
        output.finish(response, turn)
        self._close(turn)

    def _close(self, turn: Turn) -> None:
        if turn.prompt_items:  # transcripts may have come meanwhile
            turn.request = replace(turn.request, prompt=dump(turn.prompt_items))
        self._listener.end(turn)

    def _error(self, error: Json) -> None:
        """An error ends the turn that it concerns: the one whose event it names, or that was asked for last."""
        event_id = as_text(error.get("event_id"))
        named = next((turn for turn in self._asked if turn.event_id and turn.event_id == event_id), None)
        if named is None and event_id is None and self._asked and _refuses_a_response(error):
            named = self._asked[-1]
        if named is not None:
            self._asked.remove(named)
            named.status, named.error = Status.UPSTREAM_ERROR, error
            self._close(named)

    def _transcribed(self, how: str, event: Json, at_ns: int) -> None:
        """The transcript of what was spoken, which is billed by itself."""
        if how not in ("completed", "failed"):
            return
        part = self._sound.pop(as_text(event.get("item_id")) or "", {"type": "input_audio"})
        turn = Turn("transcription", NAME, at_ns)
        turn.request = Request(model=self._transcriber(), stream=True, prompt=dump(dict(part)))
        turn.chunks, turn.first_chunk_ns = 1, at_ns
        usage = as_object(event.get("usage"))
        turn.answer.usage = read_usage(usage)
        if usage.get("type") == "duration" and isinstance(seconds := usage.get("seconds"), int | float):
            turn.answer.units["audio_seconds"] = seconds
        if how == "failed":
            turn.status, turn.error = Status.UPSTREAM_ERROR, as_object(event.get("error"))
        else:
            transcript = as_text(event.get("transcript")) or ""
            turn.answer.choices = [Choice(content=transcript)]
            turn.first_token_ns = at_ns if transcript else None
            part.pop("seconds", None)
            part["transcript"] = transcript
        self._listener.begin(turn)
        self._listener.end(turn)

    def _transcriber(self) -> str | None:
        audio = as_object(as_object(self._settings.get("audio")).get("input"))
        wanted = as_object(audio.get("transcription") or self._settings.get("input_audio_transcription"))
        return as_text(wanted.get("model")) or self.model

    def broken(self) -> list[Turn]:
        """The turns that have not ended."""
        turns = list(self._asked)
        for turn, output in self._open.values():
            output.finish({}, turn)
            turns.append(turn)
        self._asked, self._open = [], {}
        return turns


def _ms(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _refuses_a_response(error: Mapping[str, object]) -> bool:
    code, param = as_text(error.get("code")) or "", as_text(error.get("param")) or ""
    return code == "conversation_already_has_active_response" or param.startswith("response")
