"""UpgradingConnection: uvicorn's HTTP/1.1 connection, which can become a tunnel for a WebSocket session."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.door.tunnel import EXTENSION, TunnelEnd


class UpgradingConnection(HttpToolsProtocol):
    """Its subclass parses requests, offers a tunnel for a handshake, and asks whether bytes are still HTTP."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._tunnel: TunnelEnd | None = None
        self._waiting = False
        """Set while a handshake waits for its response."""
        self._early = b""
        """What came behind it."""

    def _offer_tunnel(self, rest: bytes) -> None:
        """The request that just began is a handshake, with `rest` behind it: nothing more is read until it is
        answered."""
        self._waiting, self._early = True, rest
        self.scope["extensions"] = {EXTENSION: self.open_tunnel}  # type: ignore[dict-item]
        self.transport.pause_reading()

    def _passes(self, data: bytes) -> bool:
        """Take bytes that are not, or not yet, HTTP."""
        if self._tunnel is not None:
            self._tunnel.client_data(data)
        elif self._waiting:
            self._early += data
        return self._tunnel is not None or self._waiting

    def open_tunnel(self, head: bytes, end: TunnelEnd) -> tuple[asyncio.Transport, bytes] | None:
        """Become a tunnel (`app.door.tunnel`)."""
        cycle = self.cycle
        if cycle is None or self.transport.is_closing():
            return None
        self._waiting, self._tunnel = False, end
        self._unset_keepalive_if_required()
        # for uvicorn, the response is complete and the client is gone
        cycle.response_started = cycle.response_complete = cycle.disconnected = True
        cycle.message_event.set()
        self.transport.write(head)
        return self.transport, self._early

    def on_response_complete(self) -> None:
        """Go on with what came behind a handshake that was refused."""
        super().on_response_complete()
        if self._waiting:
            early, self._waiting, self._early = self._early, False, b""
            if not self.transport.is_closing():
                self.transport.resume_reading()
                self.data_received(early)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the end of the tunnel."""
        super().connection_lost(exc)
        if self._tunnel is not None:
            self._tunnel.client_lost()

    def pause_writing(self) -> None:
        """The client reads slower than we send."""
        super().pause_writing()
        if self._tunnel is not None:
            self._tunnel.client_writable(False)

    def resume_writing(self) -> None:
        """The client keeps up again."""
        super().resume_writing()
        if self._tunnel is not None:
            self._tunnel.client_writable(True)

    def shutdown(self) -> None:
        """Begin to stop. A session ends in its own way."""
        if self._tunnel is None:
            super().shutdown()
