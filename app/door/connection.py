"""GuardedConnection: uvicorn's HTTP/1.1 connection on httptools, and what a client may not do to it.

httptools alone lets these in (docs/decisions/0014 compares the servers):

    an offer to upgrade   is ignored, as RFC 9110 §7.8 allows; httptools takes the request to have no body
    trailers              are dropped; httptools reports them as headers, and obeys one named `connection`
    ambiguous heads       are refused (head.py); httptools tells of some requests before it finds the fault
    a head without end    is refused: 431 past HEAD_BYTES, 408 past HEAD_S
    HTTP/1.0              gets its response unframed, up to the close; uvicorn sends chunks
    idle connections      are kept for KEEP_ALIVE_S, longer than the fronts of this proxy keep theirs
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, Literal

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app.door.head import head_fault
from app.door.http10 import unframed
from app.door.upgrading import UpgradingConnection
from app.errors import HeadTimeout, HeadTooLarge, MethodNotAllowed, ProxyError

HEAD_BYTES: Final = 64 * 1024
HEAD_S: Final = 20.0
LINGER_S: Final = 2.0
KEEP_ALIVE_S: Final = 75
"""Above the 60 s for which Envoy, Azure's load balancers and .NET take an idle connection to be usable."""
UVICORN_KEEP_ALIVE_S: Final = 5
"""uvicorn's default. An operator who sets another value keeps it."""


class GuardedConnection(UpgradingConnection):
    """One connection from a client. It answers its refusals itself: there is no request yet for the app to refuse."""

    def __init__(
        self,
        *args: Any,
        error_body: Callable[[ProxyError], bytes],
        refuse: Callable[[ProxyError], None],
        **more: Any,
    ) -> None:
        """`error_body` makes the JSON of an error; `refuse` counts one. The other arguments are uvicorn's."""
        super().__init__(*args, **more)
        self.parser = self._parser()
        self._error_body = error_body
        self._refuse = refuse
        if self.timeout_keep_alive == UVICORN_KEEP_ALIVE_S:
            self.timeout_keep_alive = KEEP_ALIVE_S
        self._in_head = False
        self._head_bytes = 0
        self._in_body = False
        self._mixed = False
        """Whether the bytes that are being read hold another request's before those of the head."""
        self._ended = False
        """Set when nothing more is taken from this client."""
        self._running: RequestResponseCycle | None = None
        """The request that is being answered; uvicorn's `cycle` is the last that began to arrive."""
        self._deadline: asyncio.TimerHandle | None = None
        """Runs while the client owes the rest of a head, or of a body whose response is complete."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request no longer than for the next one."""
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers, and tell the request that is being answered, even if others wait behind it."""
        self._ended = True
        self._stop_deadline()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client."""
        if self._ended or self._passes(data):
            return
        self._unset_keepalive_if_required()
        self._mixed = self._in_body
        self._feed(data)
        if self._in_head and not (self._mixed or self._ended):
            self._head_bytes += len(data)
            self._check_head(self._head_bytes)
        self._watch()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            if not self._ended:
                self._ignore_offer(data[offer.args[0] :])
        except httptools.HttpParserError:
            if not self._ended:
                self._break_off()

    def _parser(self) -> httptools.HttpRequestParser:
        """A parser that leaves it to us to stop after `connection: close`, which it would also do after a trailer."""
        parser = httptools.HttpRequestParser(self)
        parser.set_dangerous_leniencies(lenient_keep_alive=True)
        return parser

    def _ignore_offer(self, rest: bytes) -> None:
        """Parse the head again without its `upgrade` header, then the bytes behind it."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        if method == b"CONNECT":
            self._end(MethodNotAllowed("CONNECT is not allowed here."))
            return
        offered = [header for header in self.headers if header[0] == b"upgrade"]
        lines = [b"%b %b HTTP/%b" % (method, self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = self._parser()
        self._feed(b"\r\n".join([*lines, b"\r\n"]))
        self.headers += offered  # the door tells an offer of WebSocket from others
        if self._ended:
            return
        if method == b"GET" and offered and offered[0][1].lower() == b"websocket":
            self._offer_tunnel(rest)
        else:
            self._feed(rest)

    def on_message_begin(self) -> None:
        """Begin a head."""
        super().on_message_begin()
        self._in_head, self._head_bytes = not self._ended, 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header. Behind a body it is a trailer, which counts for nothing."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin the request, unless its head is to be parsed again or refused."""
        if self.parser.should_upgrade() or self._ended:
            return
        self._check_head(len(self.url) + sum([len(name) + len(value) for name, value in self.headers]))
        version = self.parser.get_http_version()
        if not self._ended and (fault := head_fault(version, self.headers)):
            self._end(fault)
        if self._ended:
            return
        if old := version == "1.0":
            self.expect_100_continue = False
        super().on_headers_complete()
        self._in_head, self._in_body = False, True
        if old:
            self.cycle.send = unframed(self.cycle)  # type: ignore[method-assign,assignment]

    def on_body(self, body: bytes) -> None:
        """Take bytes of a body."""
        if not self._ended:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request."""
        if self.parser.should_upgrade() or self._ended:
            return
        self._in_body, self._mixed = False, True
        super().on_message_complete()
        self.cycle.more_body = False  # uvicorn leaves it set where the response came first
        if not self.cycle.keep_alive:  # what follows is no request (RFC 9112 §9.6)
            self._ended = True
            self._stop_deadline()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _check_head(self, size: int) -> None:
        if size > HEAD_BYTES:
            self._end(HeadTooLarge(f"The request's head is larger than {HEAD_BYTES} bytes."))

    def _watch(self) -> None:
        """Start the timer for what the client owes now, if it owes anything."""
        cycle = self.cycle
        idle = cycle is None or cycle.response_complete
        if self._ended:
            return
        if self._in_head or (idle and cycle is not None and cycle.more_body):
            if self._deadline is None:
                self._deadline = self.loop.call_later(HEAD_S, self._run_out)
        else:
            self._stop_deadline()
            if idle and self.timeout_keep_alive_task is None:
                seconds = self.timeout_keep_alive
                self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _run_out(self) -> None:
        self._deadline = None
        if self.cycle is not None and not self.cycle.response_complete:
            self._watch()  # the head of a pipelined request may wait in the kernel, unread
        elif self._in_head:
            self._end(HeadTimeout(f"The request's head did not come within {HEAD_S:g} seconds."))
        else:
            self._ended = True
            self.transport.close()

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _end(self, error: ProxyError) -> None:
        """Refuse what has not become a request, and close."""
        self._refuse(error)
        if not self._end_after_response():
            self._ended = True
            body = self._error_body(error)
            head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
            self.transport.write(STATUS_LINE[error.status] + head + body)
            self._linger()

    def _linger(self) -> None:
        """Close, but not while the client still sends: a reset would take the response from it (RFC 9112 §9.6)."""
        self._stop_deadline()
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self._deadline = self.loop.call_later(LINGER_S, self.transport.close)
        else:
            self.transport.close()

    def _break_off(self) -> None:
        """Take nothing more after bytes that are no HTTP, in a head or in the body of the last request."""
        unbegun = self._in_head
        if not unbegun and self.pipeline:  # a body that broke before its request's turn came
            self.pipeline.popleft()
            self.cycle = self.pipeline[0][0] if self.pipeline else self._running  # type: ignore[assignment]
            unbegun = True
        if unbegun and self._end_after_response():
            return
        self._ended = True
        if self.cycle is not None and self.cycle.response_started and not unbegun:
            self.transport.close()  # a response is on its way: another in the middle of it would be read as its part
        else:
            self.send_400_response("Invalid HTTP request received.")

    def _end_after_response(self) -> bool:
        """Whether an earlier request is being answered: its response is completed, and then the connection closes."""
        if self.cycle is None or self.cycle.response_complete:
            return False
        self._ended, self.cycle.keep_alive = True, False
        return True


def guard_connections(lifespan: object, guarded: Callable[..., GuardedConnection] | Literal[False]) -> None:
    """Have the uvicorn whose lifespan this is make `guarded` connections from now on, unless it was told to use h11.

    With False, since its internals have changed, h11 serves: slower, with none of httptools' faults.
    """
    config = getattr(lifespan, "config", None)
    if getattr(config, "http_protocol_class", None) is not HttpToolsProtocol:
        return
    if not guarded:
        from uvicorn.protocols.http.h11_impl import H11Protocol

        config.http_protocol_class, config.ws_protocol_class = H11Protocol, None  # type: ignore[union-attr]
    else:
        config.http_protocol_class = guarded  # type: ignore[union-attr]
