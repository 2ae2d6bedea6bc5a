"""Answer: upstream's response to one request; its head has arrived, its body is arriving."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context, copy_context
from typing import Final

from app.headers import decoded

HIGH_WATER: Final = 128 * 1024
"""Bytes buffered here before reading from upstream pauses."""


type PassOn = Callable[[bytes], Coroutine[None, None, None]]


class Answer:
    """One reader at a time. The connection calls `feed`, and finally `end` or `fail`."""

    def __init__(
        self,
        status: int,
        headers: Sequence[tuple[bytes, bytes]],
        pause: Callable[[bool], None],
        close: Callable[[], None],
    ) -> None:
        """`headers` have names in lower case. `pause` pauses or resumes reading the body; `close` aborts the rest."""
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
        self._pass_on: PassOn | None = None
        """Set while `relay` waits for the next piece."""
        self._context: Context | None = None
        self._passing: asyncio.Task[None] | None = None

    @property
    def ended(self) -> bool:
        """Whether the body is complete."""
        return self._ended

    def header(self, name: bytes) -> str | None:
        """The first header of that name, in lower case."""
        value = self._named.get(name)
        return None if value is None else decoded(value)

    async def readany(self) -> bytes:
        """What has arrived, at least one byte; b"" at the end. Raises UpstreamFault if the body broke off."""
        while not self._waiting:
            if self._is_over():
                return b""
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        return self._take()

    async def read(self, limit: int) -> bytes:
        """The body up to its end, or until it exceeds `limit` bytes; `readany` returns what follows."""
        taken = b""
        while len(taken) <= limit and (more := await self.readany()):
            taken += more
        return taken

    async def relay(self, pass_on: PassOn) -> None:
        """Pass every piece of the body to `pass_on`, up to its end; drop the head, since a stream may be long.

        Raises UpstreamFault if the body broke off, and whatever `pass_on` raises.

        A piece that arrives while none is pending is passed on in the same loop iteration: waking a task for it would
        take another one (docs/decisions/0009).
        """
        self.headers, self._named = (), {}
        self._context = copy_context()
        while self._waiting or not self._is_over():
            if self._waiting:
                await pass_on(self._take())
                continue
            self._reader, self._pass_on = asyncio.get_running_loop().create_future(), pass_on
            try:
                await self._reader
                if self._passing is not None:
                    await self._passing
            finally:
                self._pass_on = None
                if self._passing is not None:
                    self._passing.cancel()
                    self._passing = None

    def close(self) -> None:
        """Stop reading. Closes the connection if the body is incomplete."""
        if not self._ended:
            self._close()

    def feed(self, data: bytes) -> None:
        """Add a piece of the body."""
        self._waiting.append(data)
        self._size += len(data)
        if self._size > HIGH_WATER and not self._paused:
            self._paused = True
            self._pause(True)
        if self._pass_on is None:
            self._wake()

    def flush(self) -> None:
        """Pass on what `feed` added, as far as that goes without waiting; `relay` handles the rest, and any fault."""
        if self._pass_on is None or not self._waiting:
            return
        passing = self._pass_on(self._take())
        task = asyncio.Task(passing, loop=asyncio.get_running_loop(), context=self._context, eager_start=True)
        if not task.done() or task.cancelled() or task.exception() is not None:
            self._pass_on, self._passing = None, task
            self._wake()

    def end(self) -> None:
        """The body is complete. The next request may use the connection: resume it now, and never touch it again."""
        self._ended = True
        self._resume()
        self._wake()

    def fail(self, fault: Exception) -> None:
        """The body broke off: `fault` says why."""
        if not self._ended and self._fault is None:
            self._fault = fault
            self._wake()

    def _take(self) -> bytes:
        """Everything buffered."""
        taken = self._waiting[0] if len(self._waiting) == 1 else b"".join(self._waiting)
        self._waiting.clear()
        self._size = 0
        self._resume()
        return taken

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._pause(False)

    def _is_over(self) -> bool:
        """Whether the body is complete; raises the fault if it broke off."""
        if self._fault is not None:
            raise self._fault
        return self._ended

    def _wake(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None and not reader.done():
            reader.set_result(None)
