"""Drain: the sender's loop: claim a segment, send it, acknowledge it, and back off on failure."""

import asyncio
import contextlib
import errno
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from exporters.batch import Add, add
from exporters.blob import BlobStore
from exporters.delivery import Delivery, is_busy, is_permanent_refusal
from exporters.losses import Losses
from exporters.pace import Pace
from exporters.segment import Segment
from exporters.spool import Spool

if TYPE_CHECKING:
    from azure.eventhub.aio import EventHubProducerClient

log = logging.getLogger(__name__)

WHOLE: Final = 1 << 30  # no limit: larger than any record
SMALLEST_RECORD: Final = 2048
READS: Final = 10  # a mounted disk may be unavailable for a while
OURS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})  # the process's errors, not the file's


class Drain:
    """Sends one segment at a time, in order, until stopped. Runs on one loop; call `stop` and `wake` on it."""

    def __init__(
        self,
        spool: Spool,
        connect: "Callable[[], EventHubProducerClient]",
        losses: Losses,
        pace: Pace,
        put: Add = add,
        restore: Callable[[], None] = lambda: None,
    ) -> None:
        """`restore` is `Upkeep.restore`."""
        self._put = put
        self._spool = spool
        self._connect = connect
        self._losses = losses
        self._pace = pace
        self._restore = restore
        self._blobs: BlobStore | None = None
        self._delivery: Delivery | None = None
        self._wake = asyncio.Event()
        self._stopping = False
        self._segment: Segment | None = None
        self._done = 0
        """Lines of `_segment` that need not be sent again."""
        self._limit: int | None = None
        """Set while the segment's records are sent one by one, because the hub refused a batch for its content."""
        self._unreadable = 0
        self._unanswered = 0
        self.failures = 0
        """Consecutive failures."""
        self.sent = 0
        self.last_success: float | None = None
        """Seconds since the epoch."""

    async def run(self, blobs: BlobStore | None) -> None:
        """Send until `stop`, and then what is left: all of it, or if the rest can be parked in `blobs`, until the hub
        fails."""
        self._blobs = blobs
        while True:
            stopping = self._stopping
            try:
                if stopping:
                    self._spool.seal()
                    if blobs and self.failures:
                        return
                segment = self._next()
                if segment is not None:
                    await self._deliver(segment)
                elif stopping:
                    return
                else:
                    await self._rest(self._pace.linger)
            except (Exception, asyncio.CancelledError) as fault:  # whatever failed, the records stay and are retried
                if (task := asyncio.current_task()) and task.cancelling():
                    raise  # the shutdown's timeout; the client's own cancelled tasks must not end this loop
                if self._stopping and blobs:
                    return
                await self._failed(fault)

    def stop(self) -> None:
        """Make `run` finish."""
        self._stopping = True
        self._wake.set()

    def wake(self) -> None:
        """End a pause early."""
        self._wake.set()

    def done(self, segment: Segment) -> int:
        """How many lines of the segment the hub has acknowledged."""
        return self._done if segment is self._segment else 0

    async def close(self) -> None:
        """Close the connection."""
        delivery, self._delivery = self._delivery, None
        if delivery is not None:
            await delivery.close()

    def _next(self) -> Segment | None:
        """The next segment. The open one is sealed by age only if no other waits, so that a long outage does not leave
        thousands of small segments."""
        segment = self._spool.claim()
        if segment is None:
            self._spool.seal(self._pace.linger)
            segment = self._spool.claim()
        return segment

    async def _deliver(self, segment: Segment) -> None:
        """Send a segment and remove it, or give it back and raise."""
        if segment is not self._segment:
            self._segment, self._done, self._limit, self._unreadable = segment, 0, None, 0
        try:
            read = self._read(segment)
            if read is None:
                return
            lines, torn = read
            await self._send(lines)
        except BaseException:
            self._spool.give_back(segment)
            raise
        if torn:
            self._losses.add("torn_line")
        self._spool.acknowledge(segment)

    def _read(self, segment: Segment) -> tuple[list[memoryview], int] | None:
        """Its lines and the bytes of a torn one; None and a loss if it is given up. Raises OSError to retry."""
        self._restore()  # else a directory that was moved looks like one that was removed
        try:
            lines = segment.lines()
        except FileNotFoundError as fault:
            self._give_up(segment, fault, "spool_removed")
            return None
        except OSError as fault:
            if fault.errno not in OURS:
                self._unreadable += 1
            if self._unreadable < READS:
                raise
            self._give_up(segment, fault, "spool_unreadable")
            return None
        self._unreadable = 0
        return lines

    def _give_up(self, segment: Segment, fault: OSError, reason: str) -> None:
        """Skip a segment. Its file, if it exists, stays for the next process: the disk may recover."""
        log.error("a segment of the spool cannot be read: %s", fault.strerror)
        self._losses.add(reason, segment.records - self._done)
        self._spool.set_aside(segment)

    async def _send(self, lines: list[memoryview]) -> None:
        if not lines[self._done :]:
            return
        if self._delivery is None:
            patience = self._pace.patience(self._unanswered)
            self._delivery = Delivery(self._connect(), self._blobs, self._losses, self._pace, patience, self._put)
        if self._limit is None:
            await self._delivery.send(lines[self._done :], self._count)
        else:
            for line in lines[self._done :]:
                await self._send_alone(self._delivery, bytes(line), self._limit)

    async def _send_alone(self, delivery: Delivery, line: bytes, limit: int) -> None:
        if limit < SMALLEST_RECORD:
            self._losses.add("refused")
            self._done += 1
            self._limit = WHOLE
            # if the hub refuses everything, the spool must not be drained at full speed
            self.failures += 1
            await self._rest(self._pace.pause(self.failures, busy=False))
            return
        try:
            taken = await delivery.send_alone(line, limit)
        except Exception as fault:
            if is_permanent_refusal(fault):
                self._limit = min(limit, len(line)) // 2
            raise
        self._count(1, taken)
        self._limit = WHOLE

    def _count(self, records: int, taken: bool) -> None:
        self._done += records
        if not taken:
            return
        if self.failures > 1:
            log.warning("records are sent again after %d failures", self.failures)
        self.failures = self._unanswered = 0
        self.sent += records
        self.last_success = time.time()

    async def _failed(self, fault: BaseException) -> None:
        await self.close()
        if is_permanent_refusal(fault):
            if self._limit is None:
                log.warning("the hub refuses a record: records are sent one by one, and that one shorter each time")
                self._limit = WHOLE
            return
        self.failures += 1
        self._unanswered = self._unanswered + 1 if isinstance(fault, TimeoutError) else 0
        if self.failures in (1, 10) or self.failures % 100 == 0:
            log.warning("sending failed %d times, records wait: %s", self.failures, type(fault).__name__)
            log.debug("the last failure", exc_info=fault)
        await self._rest(self._pace.pause(self.failures, is_busy(fault)))

    async def _rest(self, seconds: float) -> None:
        """Pause, until a stop or a flush ends it early."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()
