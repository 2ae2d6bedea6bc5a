"""Sender: the thread that drains the spool into the hub: claim a segment, deliver it, acknowledge it.

    spool ── claim ──> lines ── Delivery ──> hub ── acknowledged ──> segment removed
      ^                            │ any error: a new connection, after a pause
      └──────── give back ─────────┘

It has a loop of its own, because building a batch stalls a loop, and uses the asynchronous client, because only that
can be left: the synchronous one blocks for ever when a broker stops answering. It tries for ever. Records go out in
the order of their segments; what was sent and not acknowledged is sent again, so a record can arrive twice.
"""

import asyncio
import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Final

from azure.eventhub.aio import EventHubProducerClient

from exporters.blob import BlobStore
from exporters.delivery import Delivery, is_busy, is_refused_for_ever
from exporters.losses import Losses
from exporters.parking import Parking
from exporters.segment import Segment
from exporters.spool import Spool

log = logging.getLogger(__name__)

LINGER_S: Final = 0.2
LOOK_EVERY_S: Final = 5.0
FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 30.0
BUSY_PAUSE_S: Final = 4.0  # what Event Hubs asks for with ServerBusy
WHOLE: Final = 1024 * 1024  # the largest event any hub takes
SMALLEST_RECORD: Final = 2048
PARKING_S: Final = 1.5


class Sender:
    """Owns the thread, its loop and the connection. `start`, `flush` and `stop` may be called from any thread."""

    def __init__(
        self,
        spool: Spool,
        connect: Callable[[], EventHubProducerClient],
        losses: Losses,
        adopt: Callable[[], object],
        open_blobs: Callable[[], BlobStore] | None = None,
    ) -> None:
        """`adopt` looks for what dead processes left; `open_blobs` connects to the container, if there is one."""
        self._spool = spool
        self._connect = connect
        self._losses = losses
        self._adopt = adopt
        self._open_blobs = open_blobs
        self._blobs: BlobStore | None = None
        self._delivery: Delivery | None = None
        self._thread = threading.Thread(target=self._main, name="record-sender", daemon=True)
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._stop_at = float("inf")
        self._done = 0
        """Lines of the claimed segment that need not be sent again."""
        self._limit: int | None = None
        """Set while records go one by one, since the hub refused a batch for what is in it."""
        self._failures = 0
        self.sent = 0
        self.last_success: float | None = None
        """Seconds since the epoch."""

    def start(self) -> None:
        """Begin to drain."""
        self._thread.start()
        self._ready.wait()

    def flush(self, seconds: float) -> bool:
        """Seal, and wait until everything has been sent; False if that took longer than `seconds`."""
        deadline = time.monotonic() + seconds
        self._spool.seal()
        self._nudge()
        while self._spool.backlog().records and self._thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        return not self._spool.backlog().records

    def stop(self, seconds: float) -> bool:
        """Send what can be sent in `seconds`, park the rest if there is a container, end the thread.

        True if nothing is left in the spool. Not to be called twice.
        """
        reserve = min(PARKING_S, seconds / 2) if self._open_blobs else 0.0
        self._stop_at = time.monotonic() + seconds - reserve
        self._spool.seal()
        self._nudge()
        self._thread.join(seconds + 0.5)
        return not self._spool.backlog().records

    def _nudge(self) -> None:
        loop, wake = self._loop, self._wake
        if loop is not None and wake is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just closed
                loop.call_soon_threadsafe(wake.set)

    def _main(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        self._blobs = self._open_blobs() if self._open_blobs else None
        parking = Parking(self._spool, self._blobs) if self._blobs else None
        try:
            await self._drain(parking)
            if parking:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PARKING_S):
                        await parking.park_all()
        finally:
            await self._disconnect()
            if self._blobs:
                await self._blobs.close()

    async def _drain(self, parking: Parking | None) -> None:
        look_at = 0.0
        while True:
            stopping = self._stop_at != float("inf")
            if time.monotonic() >= look_at and not stopping:
                self._adopt()
                if parking:
                    await parking.take_in()
                look_at = time.monotonic() + LOOK_EVERY_S
            self._spool.seal(0.0 if stopping else LINGER_S)
            segment = self._spool.claim()
            if segment is not None:
                await self._deliver(segment)
            elif stopping:
                return
            else:
                await self._pause(LINGER_S)
            if time.monotonic() >= self._stop_at:
                return

    async def _deliver(self, segment: Segment) -> None:
        """Send a segment and have it removed; or give it back after a failure, and pause."""
        try:
            lines, torn = segment.lines()
        except OSError as fault:
            log.error("a segment of the spool cannot be read: %s", fault.strerror)
            self._losses.add("spool_unreadable", segment.records)
            self._finished(segment)
            return
        try:
            async with asyncio.timeout_at(self._deadline()):
                await self._send(lines)
        except Exception as fault:  # whatever it is: the records stay, and it is tried again
            self._spool.give_back(segment)
            await self._failed(fault)
            return
        if torn:
            self._losses.add("torn_line")
        self._finished(segment)
        self._failures = 0

    async def _send(self, lines: list[bytes]) -> None:
        if self._delivery is None:
            self._delivery = Delivery(self._connect(), self._blobs, self._losses)
        if self._limit is None:
            await self._delivery.send(lines[self._done :], self._count)
            return
        for line in lines[self._done :]:
            if self._limit < SMALLEST_RECORD:
                self._losses.add("refused")
            else:
                await self._delivery.send_alone(line, self._limit)
            self._count(1)
            self._limit = WHOLE

    def _count(self, records: int) -> None:
        self._done += records
        self.sent += records
        self.last_success = time.time()

    def _finished(self, segment: Segment) -> None:
        self._spool.acknowledge(segment)
        self._done, self._limit = 0, None

    async def _failed(self, fault: Exception) -> None:
        await self._disconnect()
        if is_refused_for_ever(fault):
            self._limit = WHOLE if self._limit is None else self._limit // 2
            log.warning("the hub refuses what a record is; it is sent alone, and shorter each time")
            return
        self._failures += 1
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(self._failures - 1, 12))
        if is_busy(fault):
            pause = max(pause, BUSY_PAUSE_S)
        if self._failures in (1, 10) or self._failures % 100 == 0:
            log.warning("records wait: sending failed %d times: %s", self._failures, type(fault).__name__)
            log.debug("the last failure", exc_info=fault)
        pause *= random.uniform(1.0, 1.25)
        await self._pause(max(0.0, min(pause, self._stop_at - time.monotonic())))

    async def _disconnect(self) -> None:
        delivery, self._delivery = self._delivery, None
        if delivery is not None:
            await delivery.close()

    async def _pause(self, seconds: float) -> None:
        """Wait, unless there is word of a stop or a flush."""
        assert self._wake is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()

    def _deadline(self) -> float | None:
        """When to leave off, by the loop's clock."""
        left = self._stop_at - time.monotonic()
        return None if left == float("inf") else asyncio.get_running_loop().time() + max(0.0, left)
