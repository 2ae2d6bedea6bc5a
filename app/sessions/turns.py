"""Turns: makes each turn of a session a call, with a CLIENT span, a slot in the journal and a record of its own."""

import asyncio
import contextvars
import logging
import os
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

from opentelemetry.trace import Tracer

from app.answer.failures import note_failure
from app.answer.settling import Settling
from app.door.door import Admitted
from app.operations.turn import Listener, SessionEvents, Turn
from app.relay.backends import Backend
from app.upstream import Answer
from otel.call import Attempt, Call, Status
from otel.span import CallSpan

log = logging.getLogger(__name__)


@dataclass(slots=True)
class SessionFacts:
    """What all calls of a session have in common."""

    admitted: Admitted
    backend: Backend
    answer: Answer
    connection_id: str = field(default_factory=lambda: os.urandom(16).hex())


class Turns(Listener):
    """The open and ended turns of one session."""

    def __init__(self, facts: SessionFacts, tracer: Tracer, settling: Settling) -> None:
        """Spans are children of the one that is current now."""
        self._facts = facts
        self._tracer = tracer
        self._settling = settling
        self._context = contextvars.copy_context()
        self._open: dict[int, tuple[Call, CallSpan]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self.events: SessionEvents | None = None
        self.count = 0
        self.on_idle: Callable[[], None] = lambda: None
        """Called when the last open turn has ended."""

    @property
    def open(self) -> int:
        """Turns that have not ended."""
        return len(self._open)

    def begin(self, turn: Turn) -> None:
        """Open a call."""
        facts, captured = self._facts, self._facts.admitted.capture_content
        now, wall = time.monotonic_ns(), time.time_ns()
        members = turn.members or (lambda reduced: "{}")
        withholds = self._settling.withholds
        call = Call(
            operation=turn.operation,
            api_type=turn.api_type,
            deployment=turn.request.model or facts.admitted.target.deployment,
            api_version=facts.admitted.api_version,
            request=turn.request,
            members=members(False) if captured and turn.members else None,
            reduced_members=members(True) if turn.members and (withholds or not captured) else None,
            caller=facts.admitted.caller,
            capture_content=captured,
            client_request_id=facts.admitted.client_request_id,
            connection_id=facts.connection_id,
            arrived_ns=turn.asked_ns,
            started_at_ns=wall - (now - turn.asked_ns),
        )
        call.backend, call.server_address, call.server_port = facts.backend.name, facts.backend.host, facts.backend.port
        call.attempts.append(Attempt(facts.backend.name, turn.asked_ns, 101))
        call.http_status = 101
        call.region = facts.answer.header(b"x-ms-region")
        call.apim_request_id = facts.answer.header(b"apim-request-id")
        call.request_id = facts.answer.header(b"x-request-id")
        span = self._context.run(CallSpan, self._tracer, call, self._settling.withheld(call))
        self._open[id(turn)] = call, span
        self.count += 1

    def end(self, turn: Turn) -> None:
        """Close its call, as the turn ended."""
        opened = self._open.pop(id(turn), None)
        if opened is None:
            return
        call, span = opened
        self._write(turn, call)
        if turn.error:
            note_failure(call, turn.error, "error")
        elif turn.status is Status.CLIENT_ABORTED:
            call.abort()
        elif turn.status is not Status.COMPLETED:
            call.fail(turn.status, turn.status.value, None)
        self._finish(turn, call, span)
        if not self._open:
            self.on_idle()

    def break_off(self, status: Status, code: str, message: str) -> None:
        """End every open turn with what was received of it."""
        for turn in self.events.broken() if self.events is not None else ():
            opened = self._open.pop(id(turn), None)
            if opened is not None:
                call, span = opened
                self._write(turn, call)
                if status is Status.CLIENT_ABORTED:
                    call.abort()
                else:
                    call.fail(status, code, message)
                self._finish(turn, call, span)

    @property
    def connection_id(self) -> str:
        """The session's id in its records."""
        return self._facts.connection_id

    async def settled(self) -> None:
        """Wait until every ended call has its record."""
        while self._ending:
            await asyncio.wait(self._ending)

    def _write(self, turn: Turn, call: Call) -> None:
        call.end_ns = time.monotonic_ns()
        call.request, call.answer, call.chunks = turn.request, turn.answer, turn.chunks
        call.session_id = self.events.session_id if self.events is not None else None
        if turn.answer.model is None and turn.operation != "transcription" and self.events is not None:
            turn.answer.model = self.events.model
        call.first_chunk_ns, call.first_token_ns = turn.first_chunk_ns, turn.first_token_ns
        call.first_audio_ns = turn.first_audio_ns
        call.audio_awaited_ns = turn.speech_ended_ns
        if turn.answer.usage is not None or turn.answer.units:
            turn.answer.usage_source = "reported"

    def _finish(self, turn: Turn, call: Call, span: CallSpan) -> None:
        settling = self._settling.work(call, span, turn.body, hurry=False)
        if settling is None:
            self._context.run(span.finish)
            return
        task = asyncio.create_task(_finished(settling, span))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


async def _finished(settling: Coroutine[None, None, None], span: CallSpan) -> None:
    try:
        await settling
    except Exception:
        log.exception("a call could not be settled; its record will be incomplete")
    finally:
        span.finish()
