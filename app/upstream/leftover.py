"""Leftover: what upstream sent before a connection broke, and the event loop has not read.

A server that refuses an upload midway sends its response, closes, and resets the connection because of what it did not
read. If the next write fails because of that, the loop closes the socket and discards the response in it.
"""

import asyncio
import os
from contextlib import suppress
from typing import Final

MAX_READ: Final = 128 * 1024


class Leftover:
    """A second descriptor of a connection's socket, held during an upload.

    Of a connection with TLS nothing can be read this way: there, `Connection` lets the loop read before each write.
    """

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        socket = transport.get_extra_info("socket")
        plain = transport.get_extra_info("ssl_object") is None
        self._fd: int | None = None
        if plain and socket is not None:
            with suppress(OSError):  # out of descriptors
                self._fd = os.dup(socket.fileno())

    def read(self) -> bytes:
        """The unread bytes in the socket; none after `close`. Never waits."""
        pieces = []
        size = 0
        while self._fd is not None and size < MAX_READ:
            try:
                piece = os.read(self._fd, MAX_READ)
            except OSError:  # reset, or nothing there
                break
            if not piece:
                break
            pieces.append(piece)
            size += len(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Close the descriptor."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)
