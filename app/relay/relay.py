"""Relay: the ASGI application that serves the families of paths. It admits a request, makes it a call and runs that."""

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import replace

from opentelemetry.trace import Tracer, get_current_span
from starlette.types import Receive, Scope, Send

from app.answer.settling import Settling
from app.door.body import ClientGone, RequestBody
from app.door.door import Admitted, Door
from app.door.inbound import Inbound, InboundReader
from app.errors import ProxyError, RequestTimeout, ShuttingDown
from app.operations import Families
from app.relay.attempts import Attempts
from app.relay.calls import OpenCalls
from app.relay.cutoff import Cutoff, Reason
from app.relay.exchange import Exchange
from app.relay.held import UpstreamResponse
from app.relay.response import send_error
from app.relay.stored import StoredCall, StoredIds
from otel.call import Call, Request
from otel.span import CallSpan


class Relay:
    """Holds what all calls share; what belongs to one call lives in its `Exchange`."""

    def __init__(
        self,
        *,
        families: Families,
        door: Door,
        reader: InboundReader,
        attempts: Attempts,
        settling: Settling,
        tracer: Tracer,
        calls: OpenCalls,
        max_request_bytes: int,
        max_seconds: float,
        max_text: int,
        drain_on_abort: bool,
    ) -> None:
        """`max_request_bytes` limits a body, `max_seconds` a call, `max_text` the text that is kept of it. With
        `drain_on_abort`, upstream is read to its end after the client has disconnected."""
        self._families = families
        self._stored = StoredIds()
        self._door = door
        self._reader = reader
        self._attempts = attempts
        self._settling = settling
        self._tracer = tracer
        self._calls = calls
        self._max_request_bytes = max_request_bytes
        self._max_seconds = max_seconds
        self._max_text = max_text
        self._drain_on_abort = drain_on_abort

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request to a path of one of the families."""
        arrived_ns, started_at_ns = time.monotonic_ns(), time.time_ns()
        family = self._families.of(scope["path"]) or self._families.default
        try:
            self._check_open()
            admitted = await self._door.admit(scope, family)
            body = RequestBody(receive, self._max_request_bytes, admitted.content_length)
            inbound = await self._read(admitted, body)
            deployment = admitted.target.deployment or inbound.request.model
            self._attempts.check(deployment, family.name)
            self._check_open()  # again, after the body: a shutdown waits for calls only
        except ProxyError as refusal:
            self._door.refuse(refusal)
            await send_error(send, refusal, family.error_body(refusal), current_trace_id())
            return
        except ClientGone:
            return  # upstream was not called yet, and there is no client to respond to
        call = Call(
            operation=admitted.operation.name,
            api_type=admitted.operation.api_type,
            provider=family.provider,
            deployment=deployment,
            api_version=admitted.api_version,
            request=_as_asked(inbound.request, admitted),
            members=inbound.members,
            reduced_members=inbound.reduced_members,
            caller={**inbound.caller, **admitted.caller},
            capture_content=admitted.capture_content,
            client_request_id=admitted.client_request_id,
            request_bytes=body.size if admitted.content_length is None else admitted.content_length,
            arrived_ns=arrived_ns,
            started_at_ns=started_at_ns,
        )
        call.answer.truncated = inbound.unread
        await self._run(call, admitted, body, inbound, send)

    async def _read(self, admitted: Admitted, body: RequestBody) -> Inbound:
        try:
            async with asyncio.timeout(self._max_seconds):
                return await self._reader.read(admitted, body)
        except TimeoutError:
            raise RequestTimeout("The request body did not arrive in time.") from None

    def _check_open(self) -> None:
        if self._calls.closing:
            raise ShuttingDown("The proxy is shutting down; try again.")

    async def _run(self, call: Call, admitted: Admitted, body: RequestBody, inbound: Inbound, send: Send) -> None:
        stored = self._stored_call(call, admitted)
        span, cutoff = CallSpan(self._tracer, call, self._settling.withheld(call)), Cutoff()

        async def ask() -> UpstreamResponse:
            received = await self._attempts.ask(call, admitted, inbound, span.propagation_headers(), stored)
            inbound.asking = None  # a copy of the body that would be held until the stream ends
            note_form()
            return received

        def note_form() -> None:
            if inbound.form is not None:  # of which more has passed by now
                asked = _as_asked(admitted.operation.read_form(inbound.form.fields), admitted)
                call.request = replace(asked, stream=asked.stream or call.request.stream)
                call.deployment = call.deployment or asked.model

        def settle() -> Coroutine[None, None, None] | None:
            if admitted.content_length is None:
                call.request_bytes = body.size  # known only now
            note_form()
            if stored is not None:
                stored.close()
            return self._settling.work(call, span, inbound.text, hurry=cutoff.reason is Reason.SHUTDOWN)

        exchange = Exchange(
            call, span, admitted.operation, cutoff, self._drain_on_abort, settle, stored, self._max_text
        )
        self._calls.enter(cutoff)
        try:
            if (error := await exchange.run(ask, body, self._max_seconds, send)) is not None:
                if error is body.fault:
                    self._door.refuse(error)
                await send_error(send, error, admitted.family.error_body(error), span.trace_id)
        finally:
            self._calls.leave(cutoff)

    def _stored_call(self, call: Call, admitted: Admitted) -> StoredCall | None:
        """What it has to do with stored objects; None where that does not matter."""
        if not self._attempts.several or admitted.target.deployment is not None:
            return None
        return StoredCall(self._stored, call, admitted.operation, admitted.target.suffix, admitted.method == "POST")


def _as_asked(request: Request, admitted: Admitted) -> Request:
    """The request without a model that Azure ignores, because the path names the deployment."""
    deployment = admitted.target.deployment
    if deployment is None or request.model in (None, deployment):
        return request
    return replace(request, model=None)


def current_trace_id() -> str:
    """The trace id of the request's SERVER span, 32 hex digits."""
    return f"{get_current_span().get_span_context().trace_id:032x}"
