"""RelayedResponse: upstream's answer to the client, chunk by chunk, each sent first and looked at afterwards.

Only where usage was asked for on the client's behalf is a chunk searched before it is sent (`app.relay.usage_event`).
"""

import logging
import time

from starlette.types import Send

from app.answer.reader import AnswerReader
from app.errors import ProxyError
from app.headers import NOT_CLIENT, to_client
from app.relay.attempts import Asked
from app.relay.usage_event import UsageEventFilter
from otel.call import Call

log = logging.getLogger(__name__)

TRACE_HEADER = b"x-trace-id"
WITHOUT = NOT_CLIENT | {TRACE_HEADER}
WITHOUT_LENGTH = WITHOUT | {b"content-length"}
NO_BODY = frozenset({204, 304})


class RelayedResponse:
    """Our own ASGI response.

    Starlette's returns before its generator is closed when a client vanishes in mid-send, and so is no place to end
    a call from. This one holds no task and no generator: whatever stops it, stops it inside `run`.
    """

    def __init__(self, asked: Asked, call: Call, reader: AnswerReader, trace_id: str) -> None:
        upstream = self._upstream = asked.answer
        self._already_read = asked.already_read
        streams = "text/event-stream" in (upstream.header(b"content-type") or "").lower()
        self._filter = UsageEventFilter() if asked.filters_usage and streams else None
        self._call = call
        self._reader: AnswerReader | None = reader
        # the length is not true where something is taken out, and where there is no body the server would insist on it
        unmeasured = self._filter is not None or upstream.status in NO_BODY
        self._without = WITHOUT_LENGTH if unmeasured else WITHOUT
        self._trace_id = trace_id
        self.client_gone = False
        """Set to go on reading without sending, when upstream is to be drained."""
        self.delivered = False
        """Whether a stream's last event was among what was passed on; known once the reader is closed."""
        self.ended = False
        """Whether upstream's body came to its end."""

    async def run(self, send: Send) -> None:
        """Pass the answer on up to its last byte. The message that ends the response is left to `complete`.

        Raises UpstreamFault when upstream's body breaks off.
        """
        call, upstream, held_back = self._call, self._upstream, self._filter

        async def pass_on(chunk: bytes) -> None:
            if call.first_chunk_ns is None:
                call.first_chunk_ns = time.monotonic_ns()
            passed = chunk if held_back is None else held_back.feed(chunk)
            if passed and not self.client_gone:
                await send({"type": "http.response.body", "body": passed, "more_body": True})
            self._look(chunk)

        await self._start(send)
        if self._already_read:
            await pass_on(self._already_read)
        await upstream.relay(pass_on)
        self.ended = True
        if held_back is not None and (rest := held_back.close()) and not self.client_gone:
            await send({"type": "http.response.body", "body": rest, "more_body": True})

    async def _start(self, send: Send) -> None:
        headers = to_client(self._upstream.headers, self._without)
        headers.append((TRACE_HEADER, self._trace_id.encode()))
        await send({"type": "http.response.start", "status": self._upstream.status, "headers": headers})

    def close_reader(self) -> None:
        """Let the reader take in what it kept; nothing is sent or awaited here."""
        if self._reader is None:
            return
        try:
            self._reader.close(self.ended)
            self.delivered = self._reader.last_event_seen
        except Exception:
            log.exception("an answer could not be read to its end; its record will lack facts")
        self._reader = None

    async def complete(self, send: Send) -> None:
        """End the response towards the client."""
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _look(self, chunk: bytes) -> None:
        if self._reader is None:
            return
        try:
            self._reader.feed(chunk)
        except Exception:  # telemetry never hurts a call
            log.exception("an answer could not be read; its record will lack facts")
            self._reader = None


async def send_error(send: Send, error: ProxyError, body: bytes, trace_id: str | None) -> None:
    """Answer with an error of the proxy's own; `body` is what its family of paths makes of it."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if trace_id:
        headers.append((TRACE_HEADER, trace_id.encode()))
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
