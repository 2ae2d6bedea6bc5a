"""RequestBody: the client's body, whole or piece by piece, and the wait for the client to disconnect."""

import asyncio
from collections.abc import AsyncIterator

from starlette.types import Receive

from app.errors import BodyTooLarge, ProxyError


class ClientGone(Exception):
    """The client disconnected before its request was complete."""


class RequestBody:
    """The only reader of ASGI `receive`: first of the body, then of the disconnect."""

    def __init__(self, receive: Receive, max_bytes: int, declared: int | None) -> None:
        """`declared` is the content-length. Raises BodyTooLarge if it exceeds `max_bytes`."""
        self._receive = receive
        self._max_bytes = max_bytes
        self._ended = False
        self._end: asyncio.Future[None] | None = None
        self.size = 0
        self.fault: ProxyError | ClientGone | None = None
        """Why `pieces` stopped early; the HTTP client that read them reports only that they did."""
        if declared is not None and declared > max_bytes:
            raise self._too_large()

    async def whole(self) -> bytes | bytearray:
        """The whole body; raises BodyTooLarge or ClientGone.

        It is gathered as it arrives: joining 64 MiB at its end would stall other calls, and take twice the memory.
        """
        first = await self._next() if not self._ended else b""
        if self._ended:
            return first
        gathered = bytearray(first)
        while not self._ended:
            gathered += await self._next()
        return gathered

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it arrives; raises BodyTooLarge or ClientGone."""
        while not self._ended:
            if piece := await self._next():
                yield piece

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.fault = ClientGone()
            raise self.fault
        piece: bytes = message.get("body", b"")
        self.size += len(piece)
        if self.size > self._max_bytes:
            self.fault = self._too_large()
            raise self.fault
        if not message.get("more_body", False):
            self._ended = True
            if self._end is not None and not self._end.done():
                self._end.set_result(None)
        return piece

    async def gone(self) -> None:
        """Return when the client has disconnected or the response is complete."""
        if not self._ended:
            self._end = asyncio.get_running_loop().create_future()
            await self._end
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"The request's body is larger than {self._max_bytes} bytes.")
