"""Exchange: one admitted call with upstream, from sending the request to its one end."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine

from starlette.types import Send

from app.answer.reader import AnswerReader
from app.door.body import RequestBody
from app.errors import ProxyError, UpstreamSilent, UpstreamUnreachable
from app.operations import Operation
from app.operations.room import MAX_TEXT
from app.relay.cutoff import Cutoff, Reason
from app.relay.held import UpstreamResponse
from app.relay.response import RelayedResponse
from app.relay.stored import StoredCall
from app.upstream import Answer, UpstreamFault
from otel.call import Call, Status
from otel.span import CallSpan

log = logging.getLogger(__name__)

type Ask = Callable[[], Awaitable[UpstreamResponse]]
type Settle = Callable[[], Coroutine[None, None, None] | None]


class Exchange:
    """Runs one call and ends it exactly once: completed, rejected by upstream, or cut off by either side or the proxy.

    It watches the client while it waits for upstream: the server reports a disconnect only to those who ask.
    """

    def __init__(
        self,
        call: Call,
        span: CallSpan,
        operation: Operation,
        cutoff: Cutoff,
        drain_on_abort: bool,
        settle: Settle = lambda: None,
        stored: StoredCall | None = None,
        max_text: int = MAX_TEXT,
    ) -> None:
        """`settle` returns the work to do between the last byte and the record, which must be short, or None. `stored`
        gets the response too; `max_text` limits the text that is kept of it."""
        self._call = call
        self._span = span
        self._operation = operation
        self._cutoff = cutoff
        self._drain_on_abort = drain_on_abort
        self._settle = settle
        self._stored = stored
        self._max_text = max_text
        self._ended = False
        self._ending: asyncio.Task[None] | None = None
        self._client_gone = False
        self._answer: Answer | None = None
        self._response: RelayedResponse | None = None

    async def run(self, ask: Ask, body: RequestBody, max_seconds: float, send: Send) -> ProxyError | None:
        """Call upstream and relay its response; return the error to send if no response was started.

        A response that cannot be completed is left incomplete on purpose: the server then closes the connection, and
        the client sees that the response broke off.
        """
        # eager: it nearly always does nothing but wait
        watcher = asyncio.Task(body.gone(), loop=asyncio.get_running_loop(), eager_start=True)
        watcher.add_done_callback(self._on_client_gone)
        deadline = asyncio.get_running_loop().call_later(max_seconds, self._cutoff.cut, Reason.TIME_OVER)
        error: ProxyError | None = None
        try:
            with self._cutoff:
                await self._relay(ask, send)
            error = self._cut_off()
        except UpstreamFault as fault:
            error = self._connection_failed(fault, body)
        except ProxyError as fault:
            error = fault
            self._call.fail(Status.UPSTREAM_ERROR, fault.code, fault.message)
        except (OSError, asyncio.CancelledError):  # how the server reports that the client has disconnected
            if not self._ended:
                self._call.abort()
            raise
        except Exception:
            log.exception("a call failed due to an error in the proxy")
            error = ProxyError("The proxy failed; see its log.")
            self._call.fail(Status.UPSTREAM_ERROR if self._response is None else Status.UPSTREAM_CUT, error.code, None)
        finally:
            deadline.cancel()
            watcher.remove_done_callback(self._on_client_gone)
            # once the server knows that the response is complete, the watcher ends by itself in the same turn
            asyncio.get_running_loop().call_soon(watcher.cancel)
            await self._end()
        return error if self._response is None else None

    async def _relay(self, ask: Ask, send: Send) -> None:
        received = await ask()
        answer = self._answer = received.answer
        self._note_headers(answer)
        content_type = (answer.header(b"content-type") or "").lower()
        encoding = answer.header(b"content-encoding")
        ok = answer.status < 400
        reader = AnswerReader(self._call, self._operation, content_type, encoding, ok, self._max_text)
        if self._stored is not None:
            self._stored.encoding = encoding
        response = self._response = RelayedResponse(received, self._call, reader, self._span.trace_id, self._stored)
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
        call.request_id = answer.header(b"x-request-id") or answer.header(b"request-id")
        call.upstream_ms = _whole_number(answer.header(b"openai-processing-ms"))
        call.spilled_from = answer.header(b"x-ms-spillover-from-deployment")
        served_by = answer.header(b"x-ms-deployment-name")
        call.served_by = served_by if served_by != call.deployment else None
        for unit in ("requests", "tokens"):
            told = answer.header(b"x-ratelimit-remaining-" + unit.encode())
            left = _whole_number(told or answer.header(b"anthropic-ratelimit-%b-remaining" % unit.encode()))
            if left is not None:
                call.rate_limit[f"remaining_{unit}"] = left
        spilled = answer.header(b"x-ms-is-spilled-over")
        call.spilled_over = None if spilled is None else spilled.lower() == "true"

    def _on_client_gone(self, watcher: asyncio.Task[None]) -> None:
        if watcher.cancelled() or watcher.exception() is not None:
            return
        self._client_gone = True
        if not self._drain_on_abort:
            self._cutoff.cut(Reason.CLIENT_GONE)
        elif self._response is not None:
            self._response.client_gone = True

    def _cut_off(self) -> ProxyError | None:
        """Record the cut; return the error to send if no response was started."""
        call = self._call
        if self._ended:  # the client already has the last byte
            return None
        match self._cutoff.reason:
            case Reason.CLIENT_GONE:
                call.abort()
            case Reason.TIME_OVER if self._response is None:
                error = UpstreamSilent("Azure OpenAI did not respond in time.")
                call.fail(Status.UPSTREAM_ERROR, error.code, error.message)
                return error
            case Reason.TIME_OVER:
                call.fail(Status.UPSTREAM_CUT, "time_limit", "the response took longer than PROXY_MAX_SECONDS")
            case Reason.SHUTDOWN:
                call.fail(Status.INTERRUPTED, "shutdown", "the proxy was stopped")
        return None

    def _connection_failed(self, fault: UpstreamFault, body: RequestBody) -> ProxyError | None:
        """Record a failed connection, which an upload's client may have caused; return the error to send, if any."""
        call = self._call
        if isinstance(body.fault, ProxyError):  # too large
            call.fail(Status.REFUSED, body.fault.code, body.fault.message)
            return body.fault
        if body.fault is not None:
            call.abort()
            return None
        if self._response is not None:
            call.fail(Status.UPSTREAM_CUT, "connection_broken", f"the response broke off: {fault}")
            return None
        error = UpstreamUnreachable(f"Azure OpenAI could not be reached: {fault}.")
        call.fail(Status.UPSTREAM_ERROR, error.code, error.message)
        return error

    async def _end(self) -> None:
        """Close upstream and finish the span, which writes the record. Only the first call has an effect.

        Cancelling the caller does not cancel the end.
        """
        if not self._ended:
            self._ended = True
            if self._call.end_ns is None:
                self._call.end_ns = time.monotonic_ns()
            if self._answer is not None:
                self._answer.close()
            if self._response is not None:
                self._response.close_reader()
                aborted = self._call.status is Status.CLIENT_ABORTED and self._cutoff.reason is Reason.CLIENT_GONE
                if aborted and self._response.delivered:
                    # OpenAI's clients disconnect at the last event, without waiting for the end of the body
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
            log.exception("a call could not be settled; its record will be incomplete")
        finally:
            self._span.finish()


def _whole_number(text: str | None) -> int | None:
    """The number in a header, in whole units; None without one."""
    try:
        value = round(float(text)) if text else None
    except (ValueError, OverflowError):
        return None
    return value if value is not None and 0 <= value < 2**63 else None
