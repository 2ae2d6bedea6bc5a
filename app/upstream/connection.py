"""Connection: one connection to upstream, with one request in flight at a time."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Final, cast

import httptools

from app.upstream.faults import Disconnected, NotHttp, UpstreamFault
from app.upstream.leftover import Leftover
from app.upstream.received import Answer

MAX_HEAD: Final = 64 * 1024
SMALL: Final = 64 * 1024
"""A body up to this size is copied behind its head: that costs less than a second write."""
NO_BODY: Final = frozenset({204, 304})
STALE_S: Final = 1.0
"""A kept connection that upstream closes this soon after a request was closed for its age; later, upstream may have
processed the request, and billed it."""

type Body = bytes | bytearray | AsyncIterator[bytes] | None


class Connection(asyncio.Protocol):
    """Parses with llhttp. It is free again when the response is complete, the request is sent, and both sides keep the
    connection open: it then calls `on_free`. It calls `on_lost` when the connection is closed."""

    def __init__(self, on_free: "Callable[[Connection], None]", on_lost: "Callable[[Connection], None]") -> None:
        self._on_free = on_free
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        # `app.headers` decides about control characters in header values
        self._parser.set_dangerous_leniencies(lenient_headers=True)
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._head: asyncio.Future[Answer] | None = None
        self._answer: Answer | None = None
        self._upload: asyncio.Task[None] | None = None
        self._leftover: Leftover | None = None
        self._writable: asyncio.Future[None] | None = None
        self._method = b""
        self._untouched = True
        self._sent_at = 0.0
        self._until_closed = False
        self._upgrades = False
        self._early = b""
        """What came behind the head of a response that switched protocols."""
        self.served = 0
        """Requests sent over it."""

    @property
    def closing(self) -> bool:
        """Whether it can take no further request."""
        return self._transport is None or self._transport.is_closing()

    async def send(self, method: bytes, head: bytes, body: Body, chunked: bool) -> Answer:
        """Send a request and wait for the head of its response; sending the request's body may take longer.

        `chunked`: write a streamed body in chunks. Raises Disconnected or NotHttp.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            raise Disconnected(stale=self.served > 0)
        self.served += 1
        self._method, self._answer, self._untouched, self._sent_at = method, None, True, time.monotonic()
        self._headers, self._head_bytes = [], 0
        waiting: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._head = waiting
        if body is None or isinstance(body, bytes | bytearray):
            if body and len(body) > SMALL:
                transport.writelines((head, body))
            else:
                transport.write(head + body if body else head)
        else:
            transport.write(head)
            self._leftover = Leftover(transport)
            self._upload = asyncio.create_task(self._pump(body, chunked))
        try:
            return await waiting
        except BaseException:
            self.close()
            raise

    async def upgrade(self, head: bytes) -> Answer:
        """Ask to switch protocols; after status 101 the connection can be taken with `detach`."""
        self._upgrades = True
        return await self.send(b"GET", head, None, False)

    def detach(self, successor: asyncio.Protocol) -> tuple[asyncio.Transport, bytes] | None:
        """Hand the connection over to another protocol, with what has arrived; None if it broke."""
        transport, self._transport = self._transport, None
        if transport is None:
            return None
        transport.set_protocol(successor)
        self._on_lost(self)
        return transport, self._early

    def close(self) -> None:
        """Abort the connection and any request in flight."""
        if self._upload is not None:
            self._upload.cancel()
        if self._transport is not None:
            self._transport.abort()

    async def _pump(self, pieces: AsyncIterator[bytes], chunked: bool) -> None:
        """Send a body piece by piece, no faster than upstream reads it. A fault of `pieces` ends the call."""
        try:
            async for piece in pieces:
                # Two turns of the loop: the first polls the socket, the second reads what has arrived. So a response
                # to the upload is seen before the next piece is written.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                if self._transport is None:
                    return
                self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                if self._writable is not None:
                    await self._writable
            if chunked and self._transport is not None:
                self._transport.write(b"0\r\n\r\n")
        except Exception as fault:  # reading from the client failed
            broken = Disconnected()
            broken.__cause__ = fault
            self._fail(broken)
            return
        self._upload = None
        self._close_leftover()
        self._free_if_done()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._head is None and self._answer is None:
            self.close()  # no request is in flight
            return
        self._untouched = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgraded:
            if self._answer is None or self._answer.status != 101:
                self._fail(NotHttp())
            else:
                self._early += data[upgraded.args[0] :]
                self._pause(True)
            return
        except httptools.HttpParserError:
            self._fail(NotHttp())
            return
        if self._answer is not None:
            self._answer.flush()
        if self._head is not None:  # still incomplete
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD:
                self._fail(NotHttp())

    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._leftover is not None:
            if self._head is not None and (unread := self._leftover.read()):
                self.data_received(unread)
            self._close_leftover()
        if self._answer is not None and exc is None and self._until_closed:
            self._answer.end()
        soon = time.monotonic() - self._sent_at < STALE_S
        self._fail(Disconnected(stale=self.served > 1 and self._untouched and soon))
        self.resume_writing()
        if self._upload is not None:
            self._upload.cancel()
        self._on_lost(self)

    # callbacks of the parser

    def on_message_begin(self) -> None:
        if self._head is None:
            raise ValueError("an unsolicited response")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head is None:
            return  # a trailer
        self._headers.append((name.lower(), value.rstrip(b" \t")))
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MAX_HEAD or b"\0" in value:
            raise ValueError("not a response head")

    def on_headers_complete(self) -> None:
        status, headers, head = self._parser.get_status_code(), self._headers, self._head
        self._headers = []
        if head is None or (100 <= status < 200 and status != 101):
            return  # interim, such as 100 Continue: the final response follows
        if not 200 <= status <= 599 and not (status == 101 and self._upgrades):
            raise ValueError("not a response status")
        self._until_closed = status not in NO_BODY and not _is_framed(headers)
        self._head = None
        self._answer = Answer(status, headers, self._pause, self.close)
        if not head.done():
            head.set_result(self._answer)
        if self._method == b"HEAD":  # the parser would wait for the body that the head announces
            self._answer.end()
            self.close()

    def on_body(self, body: bytes) -> None:
        if self._answer is not None:
            self._answer.feed(body)

    def on_message_complete(self) -> None:
        if self._answer is not None and self._answer.status != 101:
            self._answer.end()
            self._free_if_done()

    def _free_if_done(self) -> None:
        answer = self._answer
        if answer is None or not answer.ended or self._transport is None:
            return
        if self._upload is None and self._parser.should_keep_alive():
            self._answer = None
            self._on_free(self)
        else:
            self.close()

    def _close_leftover(self) -> None:
        leftover, self._leftover = self._leftover, None
        if leftover is not None:
            leftover.close()

    def _fail(self, fault: UpstreamFault) -> None:
        head, self._head = self._head, None
        if head is not None and not head.done():
            head.set_exception(fault)
        if self._answer is not None:
            self._answer.fail(fault)
        self.close()

    def _pause(self, paused: bool) -> None:
        if self._transport is not None and not self._transport.is_closing():
            (self._transport.pause_reading if paused else self._transport.resume_reading)()


def _is_framed(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether a response says where its body ends; otherwise the connection's end is its end (RFC 9112 §6.3)."""
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if codings:
        return codings[-1].rpartition(b",")[2].strip().lower() == b"chunked"
    return any(name == b"content-length" for name, _ in headers)
