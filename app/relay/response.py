"""RelayedResponse: upstream's response, passed to the client chunk by chunk; each chunk is sent first, then read.

Chunks are searched before they are sent only where the proxy requested usage (`app.relay.usage_event`).
"""

import logging
import time

from starlette.types import Send

from app.answer.reader import AnswerReader
from app.errors import ProxyError
from app.headers import NOT_CLIENT, to_client
from app.operations.decoding import FAULTS, Decode, decoder
from app.relay.held import UpstreamResponse
from app.relay.stored import StoredCall
from app.relay.usage_event import UsageEventFilter
from app.upstream import NotDecodable
from otel.call import Call

log = logging.getLogger(__name__)

TRACE_HEADER = b"x-trace-id"
DROPPED = NOT_CLIENT | {TRACE_HEADER}
DROPPED_WITH_LENGTH = DROPPED | {b"content-length"}
DROPPED_WHEN_DECODED = DROPPED_WITH_LENGTH | {b"content-encoding"}
NO_BODY = frozenset({204, 304})


class RelayedResponse:
    """The proxy's own ASGI response.

    When a client disconnects during a send, Starlette's returns before its generator is closed, so a call cannot be
    ended from there. This one holds no task and no generator: whatever stops it, stops it inside `run`.
    """

    def __init__(
        self,
        received: UpstreamResponse,
        call: Call,
        reader: AnswerReader,
        trace_id: str,
        stored: StoredCall | None = None,
    ) -> None:
        upstream = self._upstream = received.answer
        self._already_read = received.already_read
        encoding = upstream.header(b"content-encoding")
        decode = decoder(encoding)
        # whatever its content type says: a client that gets the event without having asked for it may fail on it
        filters = received.filters_usage and upstream.status < 400 and decode is not None
        self._filter = UsageEventFilter() if filters else None
        # upstream was asked not to compress, and may have done so all the same
        self._decode = decode if filters and encoding is not None else None
        self._call = call
        self._reader: AnswerReader | None = reader
        self._stored = stored
        # removing an event changes the length; without a body, the server would insist on the length
        length_unknown = filters or upstream.status in NO_BODY
        self._dropped = DROPPED_WITH_LENGTH if length_unknown else DROPPED
        if self._decode is not None:
            self._dropped = DROPPED_WHEN_DECODED
        self._trace_id = trace_id
        self.client_gone = False
        """Set to keep reading without sending, to drain upstream."""
        self.delivered = False
        """Whether a stream's last event was relayed; known once the reader is closed."""
        self.ended = False
        """Whether upstream's body is complete."""

    async def run(self, send: Send) -> None:
        """Relay the body up to its last byte; `complete` sends the message that ends the response.

        Raises UpstreamFault when upstream's body breaks off.
        """
        call, upstream, usage_filter, decode = self._call, self._upstream, self._filter, self._decode

        async def pass_on(chunk: bytes) -> None:
            if call.first_chunk_ns is None:
                call.first_chunk_ns = time.monotonic_ns()
            plain = chunk if decode is None else _decoded(decode, chunk)
            passed = plain if usage_filter is None else usage_filter.feed(plain)
            if passed and not self.client_gone:
                await send({"type": "http.response.body", "body": passed, "more_body": True})
            self._read(chunk)

        await self._start(send)
        if self._already_read:
            await pass_on(self._already_read)
        await upstream.relay(pass_on)
        self.ended = True
        if usage_filter is not None and (rest := usage_filter.close()) and not self.client_gone:
            await send({"type": "http.response.body", "body": rest, "more_body": True})

    async def _start(self, send: Send) -> None:
        headers = to_client(self._upstream.headers, self._dropped)
        headers.append((TRACE_HEADER, self._trace_id.encode()))
        await send({"type": "http.response.start", "status": self._upstream.status, "headers": headers})

    def close_reader(self) -> None:
        """Let the reader process what it has buffered; nothing is sent or awaited here."""
        if self._reader is None:
            return
        try:
            self._reader.close(self.ended)
            self.delivered = self._reader.last_event_seen
        except Exception:
            log.exception("a response could not be read to its end; its record will be incomplete")
        self._reader = None

    async def complete(self, send: Send) -> None:
        """Send the message that ends the response."""
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _read(self, chunk: bytes) -> None:
        if self._stored is not None:
            self._stored.feed(chunk)
        if self._reader is None:
            return
        try:
            self._reader.feed(chunk)
        except Exception:  # telemetry never hurts a call
            log.exception("a response could not be read; its record will be incomplete")
            self._reader = None


def _decoded(decode: Decode, chunk: bytes) -> bytes:
    try:
        return decode(chunk)
    except FAULTS:
        raise NotDecodable from None


async def send_error(send: Send, error: ProxyError, body: bytes, trace_id: str | None) -> None:
    """Send an error of the proxy's own; `body` has the error shape of its family of paths."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if trace_id:
        headers.append((TRACE_HEADER, trace_id.encode()))
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
