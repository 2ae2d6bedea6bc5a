"""Sender: the thread that drains the spool into the hub: claim a segment, send it in batches, acknowledge it.

It has a loop of its own, because building a large batch stalls a loop, and uses the asynchronous client, because
only that can be left: the synchronous one blocks for ever when a broker stops answering in mid-send.
After any error the client is thrown away; what was not acknowledged is sent again, so a record can arrive twice.
"""

import asyncio
import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Final

from azure.eventhub import EventDataBatch
from azure.eventhub.aio import EventHubProducerClient
from azure.eventhub.exceptions import EventHubError

from exporters.hub import event_of
from exporters.losses import Losses
from exporters.segment import Segment
from exporters.spool import Spool

log = logging.getLogger(__name__)

LINGER_S: Final = 0.2
SEND_S: Final = 30.0
ADOPT_EVERY_S: Final = 5.0
FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 30.0
BUSY_PAUSE_S: Final = 4.0  # Event Hubs asks for this much after a ServerBusy


class Sender:
    """Owns the thread, its loop and the client. `start`, `flush` and `stop` may be called from any thread."""

    def __init__(self, spool: Spool, connect: Callable[[], EventHubProducerClient], losses: Losses) -> None:
        self._spool = spool
        self._connect = connect
        self._losses = losses
        self._client: EventHubProducerClient | None = None
        self._thread = threading.Thread(target=self._main, name="record-sender", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._started = threading.Event()
        self._stop_at: float | None = None
        self._sent_of_claimed = 0
        self._failures = 0
        self.sent = 0
        self.last_success: float | None = None
        """Seconds since the epoch."""

    def start(self) -> None:
        """Begin to drain."""
        self._thread.start()
        self._started.wait()

    def flush(self, seconds: float) -> bool:
        """Seal, and wait until everything has been sent; False if that took longer than `seconds`."""
        deadline = time.monotonic() + seconds
        self._spool.seal()
        self._nudge()
        while self._spool.backlog().records and self._thread.is_alive():
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.01)
        return not self._spool.backlog().records

    def stop(self, seconds: float) -> bool:
        """Send what can be sent in `seconds`, then end the thread; True if nothing is left."""
        self._stop_at = time.monotonic() + seconds
        self._spool.seal()
        self._nudge()
        self._thread.join(seconds + 1.0)
        return not self._spool.backlog().records

    def _nudge(self) -> None:
        loop, wake = self._loop, self._wake
        if loop is not None and wake is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just closed
                loop.call_soon_threadsafe(wake.set)

    def _main(self) -> None:
        asyncio.run(self._drain())

    async def _drain(self) -> None:
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        self._started.set()
        adopt_at = 0.0
        while True:
            if time.monotonic() >= adopt_at:
                self._spool.adopt()
                adopt_at = time.monotonic() + ADOPT_EVERY_S
            self._spool.seal(0.0 if self._stop_at is not None else LINGER_S)
            segment = self._spool.claim()
            if segment is None:
                if self._stop_at is not None:
                    break
                await self._pause(LINGER_S)
            elif not await self._deliver(segment) and self._time_left() <= 0:
                break
        await self._discard_client()

    async def _deliver(self, segment: Segment) -> bool:
        """Send a segment; False if it was given back after a failure, and a pause."""
        try:
            async with asyncio.timeout(max(0.0, min(SEND_S, self._time_left()))):
                await self._send(segment)
        except (EventHubError, OSError, TimeoutError, ValueError) as fault:
            self._spool.give_back(segment)
            await self._failed(fault)
            return False
        self._spool.acknowledge(segment)
        self._sent_of_claimed = 0
        self._failures = 0
        self.last_success = time.time()
        return True

    async def _send(self, segment: Segment) -> None:
        """Send what is left of a segment, in as few batches as the link's size allows."""
        lines, torn = segment.lines()
        if torn:
            self._losses.add("torn_line")
        if self._client is None:
            self._client = self._connect()
        batch = await self._client.create_batch()
        for line in lines[self._sent_of_claimed :]:
            batch = await self._add(batch, line)
        await self._send_batch(batch)

    async def _add(self, batch: EventDataBatch, line: bytes) -> EventDataBatch:
        """Put a record in the batch, which is sent before when it is full; the batch to go on with."""
        event = event_of(line)
        try:
            batch.add(event)
        except ValueError:
            assert self._client is not None
            await self._send_batch(batch)
            batch = await self._client.create_batch()
            try:
                batch.add(event)
            except ValueError:
                self._losses.add("too_large")
                self._sent_of_claimed += 1
        return batch

    async def _send_batch(self, batch: EventDataBatch) -> None:
        count = len(batch)
        if count:
            assert self._client is not None
            await self._client.send_batch(batch)
            self._sent_of_claimed += count
            self.sent += count

    async def _failed(self, fault: Exception) -> None:
        self._failures += 1
        await self._discard_client()
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(self._failures, 12)) * random.uniform(0.5, 1.0)
        if "server-busy" in str(fault) or "50002" in str(fault):
            pause = max(pause, BUSY_PAUSE_S)
        if self._failures in (1, 10) or self._failures % 100 == 0:
            log.warning("records wait: sending failed %d times: %s", self._failures, type(fault).__name__)
        await self._pause(min(pause, max(0.0, self._time_left())))

    async def _discard_client(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(1.0):
                    await client.close()

    async def _pause(self, seconds: float) -> None:
        """Wait, unless there is word of a stop or a flush."""
        assert self._wake is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()

    def _time_left(self) -> float:
        return float("inf") if self._stop_at is None else self._stop_at - time.monotonic()
