"""Tunnel: how a WebSocket handshake, once it is accepted, turns a client's HTTP connection into bytes both ways.

The server offers it to the application in the scope's extensions; a server that does not cannot serve sessions.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from starlette.types import Scope

EXTENSION: Final = "proxy.tunnel"


class TunnelEnd(Protocol):
    """Takes what happens on the client's side of a tunnel."""

    def client_data(self, data: bytes) -> None:
        """Bytes arrived."""
        ...

    def client_lost(self) -> None:
        """The connection is gone."""
        ...

    def client_writable(self, writable: bool) -> None:
        """Whether the client takes more."""
        ...


type OpenTunnel = Callable[[bytes, TunnelEnd], tuple[asyncio.Transport, bytes] | None]
"""Writes the head of the response that accepts, and from then on hands everything to the end. It returns the
connection's transport, whose reading is paused, and what has arrived already; None if the client has left."""


def offered(scope: Scope) -> OpenTunnel | None:
    """The tunnel that a request can have, if it is a handshake and the server can do it."""
    extensions = scope.get("extensions")
    tunnel: OpenTunnel | None = extensions.get(EXTENSION) if extensions else None
    return tunnel
