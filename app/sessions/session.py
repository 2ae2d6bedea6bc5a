"""Sessions: the ASGI application for WebSocket sessions. It admits a handshake, finds a backend, and joins the two."""

import asyncio
import time
from functools import partial
from typing import Final

from opentelemetry.trace import Tracer, get_current_span
from starlette.types import Receive, Scope, Send

from app.answer.settling import Settling
from app.door.door import Admitted, Door
from app.door.inbound import Sticky
from app.door.tunnel import OpenTunnel, offered
from app.errors import ProxyError, ShuttingDown, UpstreamSilent, UpstreamUnreachable
from app.operations import Families, Family
from app.operations.realtime_session import RealtimeSession
from app.operations.responses_session import ResponsesSession
from app.operations.turn import SessionEvents
from app.relay.calls import OpenCalls
from app.relay.cutoff import Cutoff, Reason
from app.relay.relay import current_trace_id
from app.relay.response import send_error
from app.sessions.frames import Message
from app.sessions.handshake import Accepted, Handshake, Refused, response_head
from app.sessions.pipe import GOING_AWAY, Pipe
from app.sessions.turns import SessionFacts, Turns
from app.upstream import UpstreamFault
from otel.call import Status

HANDSHAKE_S: Final = 30.0
RESTART: Final = 1012


class Sessions:
    """Holds what all sessions share."""

    def __init__(
        self,
        *,
        families: Families,
        door: Door,
        handshake: Handshake,
        settling: Settling,
        sticky: Sticky,
        tracer: Tracer,
        calls: OpenCalls,
        max_message: int,
        max_seconds: float,
    ) -> None:
        """`max_message` limits a client's message in bytes, `max_seconds` a session."""
        self._families = families
        self._door = door
        self._handshake = handshake
        self._settling = settling
        self._sticky = sticky
        self._tracer = tracer
        self._calls = calls
        self._max_message = max_message
        self._max_seconds = max_seconds

    def serves(self, scope: Scope) -> bool:
        """Whether a request begins a session here."""
        if offered(scope) is None:
            return False
        family = self._families.of(scope["path"])
        return family is not None and family.begins_session(scope["path"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one session, to its end."""
        family = self._families.of(scope["path"]) or self._families.default
        try:
            admitted, outcome = await self._begin(scope, family)
        except (ProxyError, UpstreamFault) as fault:
            refusal = fault if isinstance(fault, ProxyError) else UpstreamUnreachable(f"No session: {fault}.")
            self._door.refuse(refusal)
            await send_error(send, refusal, family.error_body(refusal), current_trace_id())
            return
        if isinstance(outcome, Refused):
            await _pass_on(send, outcome)
            return
        tunnel = offered(scope)
        assert tunnel is not None  # `serves` has asked
        await self._run(admitted, outcome, tunnel)

    async def _begin(self, scope: Scope, family: Family) -> tuple[Admitted, Accepted | Refused]:
        if self._calls.closing:
            raise ShuttingDown("The proxy is shutting down; try again.")
        admitted = await self._door.admit(scope, family)
        context = get_current_span().get_span_context()
        trace = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                sticky = self._sticky.value(admitted, {})
                return admitted, await self._handshake.ask(admitted, sticky, [(b"traceparent", trace.encode())])
        except TimeoutError:
            raise UpstreamSilent("Azure OpenAI did not respond to the handshake in time.") from None

    async def _run(self, admitted: Admitted, accepted: Accepted, tunnel: OpenTunnel) -> None:
        turns = Turns(SessionFacts(admitted, accepted.backend, accepted.answer), self._tracer, self._settling)
        responses = admitted.target.suffix.lower() == "responses"
        reader = ResponsesSession if responses else RealtimeSession
        events: SessionEvents = reader(turns, admitted.target.deployment)
        turns.events = events
        pipe = Pipe(self._max_message, partial(_sent, events), partial(_received, events))
        upstream = accepted.connection.detach(pipe)
        head = response_head(accepted.answer, current_trace_id())
        client = tunnel(head, pipe) if upstream is not None else None
        if upstream is None or client is None:
            if upstream is not None:
                upstream[0].abort()
            return
        cutoff = SessionCutoff(pipe, turns)
        self._calls.enter(cutoff)
        over = asyncio.get_running_loop().call_later(
            self._max_seconds, pipe.close, GOING_AWAY, "the session lasted as long as this proxy allows"
        )
        try:
            pipe.join(client, upstream)
            await pipe.ended
        finally:
            over.cancel()
            turns.break_off(*_why(pipe, cutoff))
            await asyncio.shield(turns.settled())
            _note(pipe, turns)
            self._calls.leave(cutoff)


class SessionCutoff(Cutoff):
    """Ends a session from outside: at once, or when the response that is under way has ended."""

    def __init__(self, pipe: Pipe, turns: Turns) -> None:
        super().__init__()
        self._pipe = pipe
        self._turns = turns

    def cut(self, reason: Reason) -> None:
        """Tell the client that the service restarts; only the first cut has an effect."""
        if self.reason is None:
            self.reason = reason
            self._pipe.close(RESTART, "this proxy is restarting")

    def drain(self) -> None:
        """End when no response is under way."""
        self._turns.on_idle = lambda: self.cut(Reason.SHUTDOWN)
        if not self._turns.open:
            self.cut(Reason.SHUTDOWN)


def _sent(events: SessionEvents, message: Message) -> None:
    if message.whole:
        events.sent(message.text, time.monotonic_ns())
    elif message.sound_bytes:
        events.sent_sound(message.sound_bytes)


def _received(events: SessionEvents, message: Message) -> None:
    if message.whole:
        events.received(message.text, time.monotonic_ns())
    elif message.sound_bytes:
        events.received_sound(message.text, time.monotonic_ns())


def _why(pipe: Pipe, cutoff: Cutoff) -> tuple[Status, str, str]:
    """How the turns ended that the session's end broke off."""
    if cutoff.reason is Reason.SHUTDOWN:
        return Status.INTERRUPTED, "shutdown", "the proxy was stopped"
    match pipe.ended_by:
        case "client":
            return Status.CLIENT_ABORTED, "", ""
        case "limit":
            return Status.UPSTREAM_CUT, "time_limit", "the session took longer than PROXY_MAX_SESSION_SECONDS"
    return Status.UPSTREAM_CUT, "connection_broken", "the session broke off"


def _note(pipe: Pipe, turns: Turns) -> None:
    """Write to the session's SERVER span how it ended."""
    span = get_current_span()
    span.set_attribute("http.status_code", 101)
    facts = {
        "proxy.session.close_code": pipe.close_code,
        "proxy.session.responses": turns.count,
        "proxy.session.bytes_sent": pipe.bytes_sent,
        "proxy.session.bytes_received": pipe.bytes_received,
        "proxy.connection_id": turns.connection_id,
    }
    span.set_attributes({name: value for name, value in facts.items() if value is not None})


async def _pass_on(send: Send, refused: Refused) -> None:
    headers = [(name, value) for name, value in refused.headers if name != b"content-length"]
    headers += [(b"content-length", b"%d" % len(refused.body)), (b"x-trace-id", current_trace_id().encode())]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": refused.body, "more_body": False})
