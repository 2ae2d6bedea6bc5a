"""The Responses API over WebSocket: `response.create` is the body of a request, and its events are those of SSE."""

from collections import defaultdict
from dataclasses import replace

from app.operations.json_text import load_object
from app.operations.members import Members, other_members, reduced_members
from app.operations.operation import StreamReader
from app.operations.responses import Responses
from app.operations.turn import Listener, SessionEvents, Turn
from app.operations.wire import as_text
from otel.call import Status

_RESPONSES = Responses()
_LAST = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled", "error"})


class ResponsesSession(SessionEvents):
    """One response at a time, or one in each lane (`stream_id`), since deltas name no response."""

    def __init__(self, listener: Listener, model: str | None) -> None:
        self.model = model
        self.session_id: str | None = None
        self._listener = listener
        self._open: defaultdict[str | None, list[tuple[Turn, StreamReader]]] = defaultdict(list)

    def sent(self, text: bytes, at_ns: int) -> None:
        """A `response.create` begins a turn."""
        try:
            body = Members.of(text)
        except Exception:  # not JSON, or too much of it: the service answers it
            return
        if body.get("type") != "response.create":
            return
        apart = {*_RESPONSES.recorded_apart(body), "type", "event_id", "stream_id"}
        turn = Turn(_RESPONSES.name, _RESPONSES.api_type or "", at_ns, event_id=as_text(body.get("event_id")))
        request = _RESPONSES.read_request(body)
        turn.request = replace(request, stream=True)
        turn.members = lambda reduced: (reduced_members if reduced else other_members)(body, apart)
        turn.body = text
        lane = as_text(body.get("stream_id"))
        self.model = request.model or self.model
        self._open[lane].append((turn, _RESPONSES.stream()))
        self._listener.begin(turn)

    def received(self, text: bytes, at_ns: int) -> None:
        """Events of the open turn, up to its last."""
        event = load_object(text)
        if event is None:
            return
        lane = as_text(event.get("stream_id"))
        opened = self._open.get(lane)
        if not opened:
            return
        kind = event.get("type")
        # an error that names no event is about what was asked last: the one before goes on
        turn, stream = opened[-1 if kind == "error" else 0]
        turn.chunks += 1
        turn.first_chunk_ns = turn.first_chunk_ns or at_ns
        if stream.event(event) and turn.first_token_ns is None:
            turn.first_token_ns = at_ns
        if kind in _LAST:
            error = _RESPONSES.error_of(event)
            turn.error = error if isinstance(error, dict) else None
            turn.status = Status.UPSTREAM_ERROR if error else Status.COMPLETED
            opened.remove((turn, stream))
            stream.finish(turn.answer)
            if turn.answer.status == "cancelled":
                turn.status = Status.CLIENT_ABORTED
            self._listener.end(turn)

    def sent_sound(self, size: int) -> None:
        """There is none."""

    def received_sound(self, text: bytes, at_ns: int) -> None:
        """There is none that is read."""

    def broken(self) -> list[Turn]:
        """The turns that have not ended."""
        opened = [pair for lane in self._open.values() for pair in lane]
        self._open.clear()
        for turn, stream in opened:
            stream.finish(turn.answer)
        return [turn for turn, _ in opened]
