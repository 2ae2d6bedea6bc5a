"""Exchange: one admitted call with upstream, from the request's sending to its one end."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine

from starlette.types import Send

from app.answer.reader import AnswerReader
from app.door.body import RequestBody
from app.errors import ProxyError, UpstreamSilent, UpstreamUnreachable
from app.operations import Operation
from app.relay.attempts import Asked
from app.relay.cutoff import Cutoff, Reason
from app.relay.response import RelayedResponse
from app.upstream import Answer, UpstreamFault
from otel.call import Call, Status
from otel.span import CallSpan

log = logging.getLogger(__name__)

type Ask = Callable[[], Awaitable[Asked]]
type Settle = Callable[[], Coroutine[None, None, None] | None]


class Exchange:
    """Runs one call and ends it exactly once: done, refused by upstream, cut by either side, or by us.

    The client is watched while upstream is waited for, since a server reports a lost client only to those who ask.
    """

    def __init__(
        self,
        call: Call,
        span: CallSpan,
        operation: Operation,
        cutoff: Cutoff,
        drain_on_abort: bool,
        settle: Settle = lambda: None,
    ) -> None:
        """`settle` gives what is to be done between the last byte and the record, which must not take long, or None."""
        self._call = call
        self._span = span
        self._operation = operation
        self._cutoff = cutoff
        self._drain_on_abort = drain_on_abort
        self._settle = settle
        self._ended = False
        self._ending: asyncio.Task[None] | None = None
        self._client_gone = False
        self._answer: Answer | None = None
        self._response: RelayedResponse | None = None

    async def run(self, ask: Ask, body: RequestBody, max_seconds: float, send: Send) -> ProxyError | None:
        """Ask upstream and relay what it says; the error to answer with where nothing was answered yet.

        A response that cannot be completed is left incomplete, on purpose: the server then breaks the connection, and
        the client sees a broken answer as the broken answer it is.
        """
        # begun at once, since nearly always all it does is to wait
        watcher = asyncio.Task(body.gone(), loop=asyncio.get_running_loop(), eager_start=True)
        watcher.add_done_callback(self._on_gone)
        deadline = asyncio.get_running_loop().call_later(max_seconds, self._cutoff.cut, Reason.TIME_OVER)
        error: ProxyError | None = None
        try:
            with self._cutoff:
                await self._relay(ask, send)
            error = self._cut_off()
        except UpstreamFault as fault:
            error = self._broken(fault, body)
        except ProxyError as fault:
            error = fault
            self._call.fail(Status.UPSTREAM_ERROR, fault.code, fault.message)
        except (OSError, asyncio.CancelledError):  # the server's way to say that nobody listens any more
            if not self._ended:
                self._call.abort()
            raise
        except Exception:
            log.exception("a call failed by a fault of the proxy")
            error = ProxyError("The proxy failed; its log says how.")
            self._call.fail(Status.UPSTREAM_ERROR if self._response is None else Status.UPSTREAM_CUT, error.code, None)
        finally:
            deadline.cancel()
            watcher.remove_done_callback(self._on_gone)
            # it ends by itself in the turn in which the server learns that the response is complete
            asyncio.get_running_loop().call_soon(watcher.cancel)
            await self._end()
        return error if self._response is None else None

    async def _relay(self, ask: Ask, send: Send) -> None:
        asked = await ask()
        answer = self._answer = asked.answer
        self._note_headers(answer)
        content_type = (answer.header(b"content-type") or "").lower()
        encoding = answer.header(b"content-encoding")
        reader = AnswerReader(self._call, self._operation, content_type, encoding, answer.status < 400)
        response = self._response = RelayedResponse(asked, self._call, reader, self._span.trace_id)
        response.client_gone = self._client_gone
        await response.run(send)
        if self._client_gone:
            self._call.abort()
        await self._end()
        await response.complete(send)

    def _note_headers(self, answer: Answer) -> None:
        call = self._call
        call.http_status = answer.status
        call.deployment = call.deployment or answer.header(b"x-ms-deployment-name")
        call.region = answer.header(b"x-ms-region")
        call.apim_request_id = answer.header(b"apim-request-id")
        call.client_request_id = answer.header(b"x-ms-client-request-id") or call.client_request_id
        spilled = answer.header(b"x-ms-is-spilled-over")
        call.spilled_over = None if spilled is None else spilled.lower() == "true"

    def _on_gone(self, watcher: asyncio.Task[None]) -> None:
        if watcher.cancelled() or watcher.exception() is not None:
            return
        self._client_gone = True
        if not self._drain_on_abort:
            self._cutoff.cut(Reason.CLIENT_GONE)
        elif self._response is not None:
            self._response.client_gone = True

    def _cut_off(self) -> ProxyError | None:
        """What a cut means for the call, and what to answer if nothing was answered yet."""
        call = self._call
        if self._ended:  # while the last byte was with the client already
            return None
        match self._cutoff.reason:
            case Reason.CLIENT_GONE:
                call.abort()
            case Reason.TIME_OVER if self._response is None:
                error = UpstreamSilent("Azure OpenAI gave no answer in time.")
                call.fail(Status.UPSTREAM_ERROR, error.code, error.message)
                return error
            case Reason.TIME_OVER:
                call.fail(Status.UPSTREAM_CUT, "time_limit", "the answer took longer than a call may")
            case Reason.SHUTDOWN:
                call.fail(Status.INTERRUPTED, "shutdown", "the proxy was stopped")
        return None

    def _broken(self, fault: UpstreamFault, body: RequestBody) -> ProxyError | None:
        """What a failed connection means for the call; an upload may have failed on the client's side of it."""
        call = self._call
        if body.fault is not None:
            call.abort()
            return body.fault if isinstance(body.fault, ProxyError) else None
        if self._response is not None:
            call.fail(Status.UPSTREAM_CUT, "connection_broken", f"the answer broke off: {fault}")
            return None
        error = UpstreamUnreachable(f"Azure OpenAI could not be reached: {fault}.")
        call.fail(Status.UPSTREAM_ERROR, error.code, error.message)
        return error

    async def _end(self) -> None:
        """Close upstream and finish the span, which writes the record. Only the first call has an effect.

        Who waits may be cancelled; the end is not.
        """
        if not self._ended:
            self._ended = True
            if self._call.end_ns is None:
                self._call.end_ns = time.monotonic_ns()
            if self._answer is not None:
                self._answer.close()
            if self._response is not None:
                self._response.close_reader()
                left = self._call.status is Status.CLIENT_ABORTED and self._cutoff.reason is Reason.CLIENT_GONE
                if left and self._response.delivered:
                    # OpenAI's clients hang up at the last event, without waiting for the end of the body
                    self._call.status = Status.COMPLETED
            settling = self._settle()
            if settling is None:
                self._span.finish()
            else:
                self._ending = asyncio.create_task(self._finish(settling))
        if self._ending is not None:
            await asyncio.shield(self._ending)

    async def _finish(self, settling: Coroutine[None, None, None]) -> None:
        try:
            await settling
        except Exception:  # telemetry never hurts a call
            log.exception("a call could not be settled; its record will lack facts")
        finally:
            self._span.finish()
