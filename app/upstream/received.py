"""Answer: what upstream says to one request; the head is known, the body comes."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from app.headers import decoded

HIGH_WATER: Final = 128 * 1024
"""Bytes that may wait here before upstream is asked to pause."""


class Answer:
    """One reader at a time. The connection feeds it, until `end` or `fail`."""

    def __init__(
        self,
        status: int,
        headers: Sequence[tuple[bytes, bytes]],
        pause: Callable[[bool], None],
        close: Callable[[], None],
    ) -> None:
        """`headers` have names in lower case. `pause` stops the flow of the body or lets it go on; `close` gives up
        what has not come yet."""
        self.status = status
        self.headers = headers
        self._named = dict(reversed(headers))
        self._pause = pause
        self._close = close
        self._waiting: list[bytes] = []
        self._size = 0
        self._paused = False
        self._ended = False
        self._fault: Exception | None = None
        self._reader: asyncio.Future[None] | None = None

    @property
    def ended(self) -> bool:
        """Whether the body has come to its end."""
        return self._ended

    def header(self, name: bytes) -> str | None:
        """The first header of that name, in lower case."""
        value = self._named.get(name)
        return None if value is None else decoded(value)

    async def readany(self) -> bytes:
        """What has come, at least one byte of it; b"" at the end. Raises UpstreamFault when it broke off before."""
        while not self._waiting:
            if self._fault is not None:
                raise self._fault
            if self._ended:
                return b""
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        taken = self._waiting[0] if len(self._waiting) == 1 else b"".join(self._waiting)
        self._waiting.clear()
        self._size = 0
        if self._paused:
            self._paused = False
            self._pause(False)
        return taken

    async def read(self, limit: int) -> bytes:
        """The body up to its end, or until `limit` bytes are exceeded; what follows is left to `readany`."""
        taken = b""
        while len(taken) <= limit and (more := await self.readany()):
            taken += more
        return taken

    def close(self) -> None:
        """Have done with it. A body that is not whole costs the connection."""
        if not self._ended:
            self._close()

    def feed(self, data: bytes) -> None:
        """A piece of the body."""
        self._waiting.append(data)
        self._size += len(data)
        if self._size > HIGH_WATER and not self._paused:
            self._paused = True
            self._pause(True)
        self._wake()

    def end(self) -> None:
        """The body is whole."""
        self._ended = True
        self._wake()

    def fail(self, fault: Exception) -> None:
        """No more of it comes."""
        if not self._ended and self._fault is None:
            self._fault = fault
            self._wake()

    def _wake(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None and not reader.done():
            reader.set_result(None)
