"""Sender: the thread that drains the spool into the hub, and stops within a time limit.

    spool ── claim ──> lines ── Delivery ──> hub ── acknowledged ──> segment removed
      ^                            │ any error: a new connection, after a pause
      └──────── give back ─────────┘

It has its own loop, because building a batch stalls a loop, and uses the asynchronous client, because only that can be
cancelled: the synchronous one blocks forever when a broker stops responding. It retries forever. Records are sent in
the order of their segments; what was sent but not acknowledged is sent again, so a record can arrive twice.
"""

import asyncio
import contextlib
import logging
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Final

from exporters.batch import Add, add
from exporters.blob import BlobStore
from exporters.drain import Drain
from exporters.losses import Losses
from exporters.pace import Pace
from exporters.spool import Spool

if TYPE_CHECKING:
    from azure.eventhub.aio import EventHubProducerClient

    from exporters.parking import Parking

log = logging.getLogger(__name__)

TURN_S: Final = 0.0005
"""The interpreter's switch interval: how long the calls' thread may wait for the interpreter after each of its many
system calls while the sender computes. With Python's 5 ms, draining a backlog made calls 250 ms longer."""


class Sender:
    """Owns the thread and its loop. `start`, `flush` and `stop` may be called from any thread."""

    def __init__(
        self,
        spool: Spool,
        connect: "Callable[[], EventHubProducerClient]",
        losses: Losses,
        adopt: Callable[[], object],
        open_blobs: Callable[[], BlobStore] | None = None,
        pace: Pace | None = None,
        put: Add = add,
        restore: Callable[[], None] = lambda: None,
    ) -> None:
        """`adopt` takes over from dead processes; `open_blobs` connects to the container, if there is one; `put` adds a
        record to a batch of the client that `connect` creates; `restore` is `Upkeep.restore`."""
        self._spool = spool
        self._adopt = adopt
        self._restore = restore
        self._open_blobs = open_blobs
        self._losses = losses
        self._pace = pace or Pace()
        self._drain = Drain(spool, connect, losses, self._pace, put, restore)
        self._thread = threading.Thread(target=self._main, name="record-sender", daemon=True)
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sending: asyncio.Timeout
        self._blobs: BlobStore | None = None
        self._stop_at = float("inf")

    @property
    def sent(self) -> int:
        """How many records the hub has accepted so far."""
        return self._drain.sent

    @property
    def last_success(self) -> float | None:
        """When the hub last accepted records, in seconds since the epoch."""
        return self._drain.last_success

    def start(self) -> None:
        """Start the thread."""
        sys.setswitchinterval(TURN_S)
        self._thread.start()
        self._ready.wait()

    def flush(self, seconds: float) -> bool:
        """Seal, and wait up to `seconds` until everything is sent; False if something is left."""
        deadline = time.monotonic() + seconds
        self._spool.seal()
        self._tell(self._drain.wake)
        while self._spool.backlog().records and self._thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        return not self._spool.backlog().records

    def stop(self, seconds: float) -> bool:
        """Send what can be sent in `seconds`, park the rest if there is a container, and end the thread.

        True if nothing is left in the spool. Must be called only once.
        """
        self._stop_at = time.monotonic() + seconds
        self._spool.seal()
        self._tell(self._begin_stop)
        if self._thread.is_alive():
            self._thread.join(seconds + 0.5)
        return not self._spool.backlog().records

    def _tell(self, what: Callable[[], None]) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the thread has ended
                self._loop.call_soon_threadsafe(what)

    def _begin_stop(self) -> None:
        """Give the hub half of the remaining time, or all of it if there is no container."""
        self._drain.stop()
        left = self._left()
        with contextlib.suppress(RuntimeError):  # sending has ended
            self._sending.reschedule(asyncio.get_running_loop().time() + (left / 2 if self._blobs else left))

    def _left(self) -> float:
        """Seconds left for the stop, minus those that closing a connection to a frozen broker may take."""
        left = self._stop_at - time.monotonic()
        return max(0.0, left - min(self._pace.close, left / 4))

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        finally:
            self._ready.set()

    async def _run(self) -> None:
        self._loop, self._sending, self._blobs = asyncio.get_running_loop(), asyncio.timeout(None), self._store()
        parking = self._parking(self._blobs) if self._blobs else None
        chores = [asyncio.create_task(chore) for chore in self._chores(parking)]
        try:
            with contextlib.suppress(TimeoutError):
                async with self._sending:
                    self._ready.set()
                    await self._drain.run(self._blobs)
            for chore in chores:
                chore.cancel()
            if parking:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._left()):
                        await parking.park_all(self._drain.done)
        finally:
            await self._drain.close()
            if self._blobs:
                await self._blobs.close()

    def _store(self) -> BlobStore | None:
        try:
            return self._open_blobs() if self._open_blobs else None
        except Exception as fault:  # such as an invalid connection string: records are sent without it
            log.error("Blob Storage cannot be used: %s", type(fault).__name__)
            return None

    def _parking(self, blobs: BlobStore) -> "Parking":
        from exporters.parking import Parking

        return Parking(self._spool, blobs, self._losses)

    def _chores(self, parking: "Parking | None") -> list[Coroutine[None, None, None]]:
        """Periodic tasks, beside the sending, which may hang."""

        async def sync() -> None:
            self._spool.sync()
            self._restore()

        async def adopt() -> None:
            self._adopt()

        async def import_parked() -> None:
            if parking and not self._drain.failures:  # while the hub fails, parked segments are safe where they are
                await parking.import_parked()

        chores = [(sync, self._pace.sync_every), (adopt, self._pace.look_every)]
        if parking:
            chores.append((import_parked, self._pace.look_for_parked_every))
        return [repeat(chore, seconds) for chore, seconds in chores]


async def repeat(chore: Callable[[], Awaitable[None]], seconds: float) -> None:
    """Run `chore` now and then again after every `seconds`; failures are logged and retried at the next run."""
    failures = 0
    while True:
        try:
            await chore()
            failures = 0
        except Exception as fault:  # nothing may end the thread
            failures += 1
            if failures == 1 or failures % 100 == 0:
                log.warning("a periodic task of the sender failed %d times: %s", failures, type(fault).__name__)
                log.debug("the last failure", exc_info=fault)
        await asyncio.sleep(seconds)
