"""Transport: writes one reply at the simulation's pace, or breaks it off as the simulation says."""

import asyncio
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from aiohttp import web

from dev.azure_openai.shapes import Event, Reply, ServiceError, Stream, Whole, encode
from dev.azure_openai.simulation import Simulation

# With this option, closing sends RST instead of FIN and discards what the kernel has not sent yet.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_BEFORE_RESET_SECONDS = 0.02


@dataclass
class Progress:
    """The progress of one reply; `outcome` is open, completed, broken_off (as simulated) or aborted."""

    status: int | None = None
    events: int = 0
    outcome: str = "open"


class Transport:
    """Writes one reply; every event is one write, and aiohttp has set TCP_NODELAY on the socket."""

    def __init__(self, request: web.Request, simulation: Simulation, progress: Progress) -> None:
        self._request = request
        self._simulation = simulation
        self._progress = progress
        self._due = asyncio.get_running_loop().time()
        self._pause = simulation.first_token_ms / 1000

    async def send(self, reply: Reply, headers: Mapping[str, str]) -> web.StreamResponse:
        """Write a reply to its end, or until the simulation or the client breaks it off."""
        self._progress.status = 200
        headers = {"Content-Type": reply.content_type, **headers}
        try:
            with self._recording_abort():
                if isinstance(reply, Stream):
                    return await self._stream(reply, headers)
                return await self._whole(reply, headers)
        except ConnectionError:
            # aiohttp needs a response anyway; with the connection gone it ignores this one.
            return web.Response()

    def refuse(self, error: ServiceError, headers: Mapping[str, str]) -> web.Response:
        """Return an error response; the simulation's faults apply to replies only."""
        self._progress.status, self._progress.outcome = error.status, "completed"
        headers = {"Content-Type": error.content_type, **headers}
        return web.Response(status=error.status, body=encode(error.body), headers=headers)

    async def delay(self) -> None:
        """Wait before anything is sent; forever if the simulation is silent."""
        with self._recording_abort():
            if self._simulation.silent:
                await self._silence()
            if self._simulation.delay_ms:
                await asyncio.sleep(self._simulation.delay_ms / 1000)
        self._due = asyncio.get_running_loop().time()

    @contextmanager
    def _recording_abort(self) -> Iterator[None]:
        """Record that the client disconnected, which cancels the task that responds or makes its write fail."""
        try:
            yield
        except (asyncio.CancelledError, ConnectionError):
            if self._progress.outcome == "open":
                self._progress.outcome = "aborted"
            raise

    async def _silence(self) -> None:
        await asyncio.Event().wait()

    async def _whole(self, reply: Whole, headers: Mapping[str, str]) -> web.StreamResponse:
        await self._token()
        self._due += (reply.tokens - 1) * self._pause if reply.tokens else 0
        await self._wait()
        faults = self._simulation
        if (faults.cut_after, faults.close_after, faults.stall_after) != (None, None, None):
            response = web.StreamResponse(headers=headers)
            response.content_length = len(reply.body)
            await response.prepare(self._request)
            await response.write(reply.body[: len(reply.body) // 2])
            await self._break_off()
        self._progress.outcome = "completed"
        return web.Response(body=reply.body, headers=headers)

    async def _stream(self, reply: Stream, headers: Mapping[str, str]) -> web.StreamResponse:
        faults = self._simulation
        response = web.StreamResponse(headers=headers)
        await response.prepare(self._request)
        for event in reply.events:
            if self._progress.events in (faults.cut_after, faults.close_after, faults.stall_after):
                await self._break_off()
            if self._progress.events == faults.error_event_after:
                await self._write(response, Event(reply.failure(self._progress.events)))
                break
            if not (event.closing and faults.no_done):
                await self._write(response, event)
        self._progress.outcome = "completed"
        await response.write_eof()
        return response

    async def _write(self, response: web.StreamResponse, event: Event) -> None:
        if event.generated:
            await self._token()
        size = self._simulation.pieces or max(len(event.wire), 1)
        for start in range(0, len(event.wire), size):
            await response.write(event.wire[start : start + size])
            await asyncio.sleep(0)
        self._progress.events += 1

    async def _token(self) -> None:
        """Wait for the model to generate one token; the first has a time of its own."""
        self._due += self._pause
        self._pause = self._simulation.token_ms / 1000
        await self._wait()

    async def _wait(self) -> None:
        pause = self._due - asyncio.get_running_loop().time()
        if pause > 0:
            await asyncio.sleep(pause)

    async def _break_off(self) -> None:
        faults, transport = self._simulation, self._request.transport
        if faults.stall_after is not None:
            await self._silence()
        self._progress.outcome = "broken_off"
        if transport is not None:
            if faults.cut_after is not None:
                # What was written must reach the client before the reset overtakes it.
                await asyncio.sleep(_BEFORE_RESET_SECONDS)
                transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                transport.abort()
            transport.close()
        raise ConnectionResetError("broken off, as simulated")
