"""Pipe: passes the bytes of a WebSocket connection on in both directions, each piece first sent, then read.

It touches no frame, so fragments, pings, masks and close codes are the two sides' own. It adds a close frame where one
side must learn what the other cannot tell it: between two frames, after which nothing more passes.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from app.sessions.frames import FrameReader, Message, close_frame

log = logging.getLogger(__name__)

LINGER_S: Final = 2.0
"""How long a side has to close after a close frame of the proxy's own, or to end the frame in which one would fall."""
GOING_AWAY: Final = 1001
TOO_BIG: Final = 1009
BROKEN: Final = 1011


class Pipe(asyncio.Protocol):
    """The protocol of upstream's connection; the client's hands its events over through the methods `client_…`."""

    def __init__(
        self,
        max_message: int,
        on_sent: Callable[[Message], None],
        on_received: Callable[[Message], None],
    ) -> None:
        """`max_message` limits a client's message; `on_…` get the messages after they were sent on."""
        self._on_sent, self._on_received = on_sent, on_received
        self._from_client, self._from_upstream = FrameReader(max_message), FrameReader()
        self._client: asyncio.Transport | None = None
        self._upstream: asyncio.Transport | None = None
        self._closing: tuple[int, str] | None = None
        self._told = False
        self._timer: asyncio.TimerHandle | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.bytes_sent = self.bytes_received = 0
        self.ended_by = "upstream"
        """Who ended the session first: client, upstream, or a limit."""
        self.close_code: int | None = None
        """The code with which the session ended, as the client saw it."""

    def join(self, client: tuple[asyncio.Transport, bytes], upstream: tuple[asyncio.Transport, bytes]) -> None:
        """Begin: two connections, whose reading is paused, and what has arrived from each."""
        (self._client, from_client), (self._upstream, from_upstream) = client, upstream
        if from_upstream:
            self.data_received(from_upstream)
        if from_client:
            self.client_data(from_client)
        _pause(self._upstream, False)
        _pause(self._client, False)

    # the client's side

    def client_data(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._upstream is None or self._closing is not None:
            return
        reader = self._from_client
        messages = reader.feed(data)
        if reader.too_large_at is not None:
            self._upstream.write(data[: reader.too_large_at])
            self.close(TOO_BIG, "the message is larger than this proxy takes")
            return
        self.bytes_sent += len(data)
        self._upstream.write(data)
        self._tell(self._on_sent, messages)
        if reader.close_code is not None and self._from_upstream.close_code is None:
            self.ended_by = "client"

    def client_lost(self) -> None:
        """The client's connection is gone."""
        self._client = None
        if self._closing is None and self._from_upstream.close_code is None and self._upstream is not None:
            self.ended_by = "client"
        if self.close_code is None:
            self.close_code = self._from_upstream.close_code or self._from_client.close_code or 1006
        if self._upstream is not None:
            self._upstream.close()
        self._end()

    def client_writable(self, writable: bool) -> None:
        """The client reads slower than upstream sends, or keeps up again."""
        _pause(self._upstream, not writable)

    # upstream's side: asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        """Bytes from upstream."""
        if self._client is None or self._told:
            return
        messages = self._from_upstream.feed(data)
        if self._closing is not None:
            if self._from_upstream.border:
                self._client.write(data[: self._from_upstream.border])
                self._close_client()
            else:
                self._client.write(data)
            return
        self.bytes_received += len(data)
        self._client.write(data)
        self._tell(self._on_received, messages)

    def connection_lost(self, exc: Exception | None) -> None:
        """Upstream's connection is gone."""
        self._upstream = None
        if self._client is None:
            self._end()
        elif self._from_upstream.close_code is not None:
            self.close_code = self.close_code or self._from_upstream.close_code
            self._client.close()
        elif self._closing is None:
            self.close(BROKEN, "the service's connection broke")

    def pause_writing(self) -> None:
        """Upstream reads slower than the client sends."""
        _pause(self._client, True)

    def resume_writing(self) -> None:
        """Upstream keeps up again."""
        _pause(self._client, False)

    # the proxy's own end

    def close(self, code: int, reason: str) -> None:
        """Tell both sides, each at its next border between frames; only the first call has an effect."""
        if self._closing is not None or self._client is None:
            return
        self._closing = code, reason
        self.ended_by = {GOING_AWAY: "limit", TOO_BIG: "client"}.get(code, "upstream")
        self._timer = asyncio.get_running_loop().call_later(LINGER_S, self._abort)
        upstream = self._upstream
        if upstream is not None and self._from_client.at_border:
            upstream.write(close_frame(GOING_AWAY, "", masked=True))
        if self._from_upstream.at_border or upstream is None:
            self._close_client()

    def _close_client(self) -> None:
        self._told = True
        if self._upstream is not None:
            self._upstream.close()
        if self._client is None or self._closing is None:
            return
        if self._from_upstream.at_border or self._from_upstream.border:
            self.close_code = self._closing[0]
            self._client.write(close_frame(*self._closing, masked=False))
            if self._client.can_write_eof():
                self._client.write_eof()  # the client closes when it has read the frame
                return
        self._client.close()

    def _abort(self) -> None:
        self._timer = None
        for transport in (self._client, self._upstream):
            if transport is not None:
                transport.abort()

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self.ended.done():
            self.ended.set_result(None)

    def _tell(self, listener: Callable[[Message], None], messages: list[Message]) -> None:
        for message in messages:
            try:
                listener(message)
            except Exception:  # telemetry never hurts a call
                log.exception("an event of a session could not be read; its records may be incomplete")


def _pause(transport: asyncio.Transport | None, paused: bool) -> None:
    if transport is not None and not transport.is_closing():
        (transport.pause_reading if paused else transport.resume_reading)()
