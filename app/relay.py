"""Relay: the ASGI application behind /openai/. It admits a request, makes a call of it and sees it through."""

import time
from collections.abc import Callable

from aiohttp import ClientResponse, ClientSession
from opentelemetry.trace import Tracer, get_current_span
from starlette.types import Receive, Scope, Send

from app.backends import Backends
from app.body import ClientGone, RequestBody
from app.calls import OpenCalls
from app.cutoff import Cutoff
from app.door import Admitted, Door, json_object
from app.errors import ProxyError, ShuttingDown
from app.exchange import Exchange
from app.response import send_error
from app.upstream import Body, ask, outgoing_headers
from otel.call import Call, Request
from otel.span import CallSpan


class Relay:
    """Holds what all calls share; what belongs to one call lives in its `Exchange`."""

    def __init__(
        self,
        *,
        door: Door,
        backends: Backends,
        session: Callable[[], ClientSession],
        tracer: Tracer,
        calls: OpenCalls,
        max_request_bytes: int,
        max_seconds: float,
        drain_on_abort: bool,
    ) -> None:
        """`session` gives the session of the running loop; a body may have `max_request_bytes`, a call take
        `max_seconds`; `drain_on_abort` reads upstream to its end when the client has left."""
        self._door = door
        self._backends = backends
        self._session = session
        self._tracer = tracer
        self._calls = calls
        self._max_request_bytes = max_request_bytes
        self._max_seconds = max_seconds
        self._drain_on_abort = drain_on_abort

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        arrived_ns, started_at_ns = time.monotonic_ns(), time.time_ns()
        try:
            if self._calls.closing:
                raise ShuttingDown("The proxy is shutting down; try again.")
            admitted = self._door.admit(scope)
            body = RequestBody(receive, self._max_request_bytes, admitted.content_length)
            content, request = await _read(admitted, body)
        except ProxyError as refusal:
            self._door.refuse(refusal)
            await send_error(send, refusal, current_trace_id())
            return
        except ClientGone:
            return  # nothing was asked of upstream yet, and nobody is left to answer
        call = Call(
            operation=admitted.operation.name,
            api_type=admitted.operation.api_type,
            deployment=admitted.target.deployment or request.model,
            api_version=admitted.api_version,
            request=request,
            caller=admitted.caller,
            capture_content=admitted.capture_content,
            request_bytes=len(content) if isinstance(content, bytes) else admitted.content_length or 0,
            arrived_ns=arrived_ns,
            started_at_ns=started_at_ns,
        )
        await self._run(call, admitted, body, content, send)

    async def _run(self, call: Call, admitted: Admitted, body: RequestBody, content: Body, send: Send) -> None:
        span, cutoff = CallSpan(self._tracer, call), Cutoff()

        async def ask_upstream() -> ClientResponse:
            backend = self._backends.choose()
            call.backend, call.server_address, call.server_port = backend.name, backend.host, backend.port
            headers = await outgoing_headers(admitted, self._door.caller_headers, backend, span.propagation_headers())
            call.attempts += 1
            return await ask(self._session(), backend, admitted, headers, content)

        exchange = Exchange(call, span, admitted.operation, cutoff, self._drain_on_abort)
        with self._calls.join(cutoff):
            await exchange.run(ask_upstream, body, self._max_seconds, send)


async def _read(admitted: Admitted, body: RequestBody) -> tuple[Body, Request]:
    """What to send on, whole where the operation is known, and what it asks for."""
    if admitted.operation.json_body:
        whole = await body.whole()
        return whole, admitted.operation.read_request(json_object(whole))
    if admitted.has_body:
        return body.pieces(), Request()
    await body.whole()
    return None, Request()


def current_trace_id() -> str:
    """The trace of the request's SERVER span, 32 hex digits."""
    return f"{get_current_span().get_span_context().trace_id:032x}"
