"""Drain: what the sender's thread does all day: claim a segment, send it, acknowledge it, and rest when that fails."""

import asyncio
import contextlib
import errno
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from exporters.batch import Add, add
from exporters.blob import BlobStore
from exporters.delivery import Delivery, is_busy, is_refused_for_ever
from exporters.losses import Losses
from exporters.pace import Pace
from exporters.segment import Segment
from exporters.spool import Spool

if TYPE_CHECKING:
    from azure.eventhub.aio import EventHubProducerClient

log = logging.getLogger(__name__)

WHOLE: Final = 1 << 30  # larger than any record
SMALLEST_RECORD: Final = 2048
READS: Final = 10  # a mounted disk may be away for a while
OURS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})  # no fault of the file's


class Drain:
    """One segment at a time, in order, for ever. Lives on one loop; `stop` and `wake` are called there."""

    def __init__(
        self,
        spool: Spool,
        connect: "Callable[[], EventHubProducerClient]",
        losses: Losses,
        pace: Pace,
        put: Add = add,
    ) -> None:
        self._put = put
        self._spool = spool
        self._connect = connect
        self._losses = losses
        self._pace = pace
        self._blobs: BlobStore | None = None
        self._delivery: Delivery | None = None
        self._wake = asyncio.Event()
        self._stopping = False
        self._segment: Segment | None = None
        self._done = 0
        """Lines of `_segment` that need not be sent again."""
        self._limit: int | None = None
        """Set while its records go one by one, since the hub refused a batch for what is in it."""
        self._unreadable = 0
        self._unanswered = 0
        self.failures = 0
        """In a row."""
        self.sent = 0
        self.last_success: float | None = None
        """Seconds since the epoch."""

    async def run(self, blobs: BlobStore | None) -> None:
        """Send whatever comes until `stop`, and then what is left: all of it, or if the rest can be parked in `blobs`,
        as much as goes out before the hub fails."""
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
            except (Exception, asyncio.CancelledError) as fault:  # whatever it is: the records stay, it is tried again
                if (task := asyncio.current_task()) and task.cancelling():
                    raise  # the end of a stop; a task of the client's own that was cancelled ends nothing here
                if self._stopping and blobs:
                    return
                await self._failed(fault)

    def stop(self) -> None:
        """Let `run` end."""
        self._stopping = True
        self._wake.set()

    def wake(self) -> None:
        """End a rest."""
        self._wake.set()

    def done(self, segment: Segment) -> int:
        """How many lines of a segment the hub has."""
        return self._done if segment is self._segment else 0

    async def close(self) -> None:
        """Drop the connection."""
        delivery, self._delivery = self._delivery, None
        if delivery is not None:
            await delivery.close()

    def _next(self) -> Segment | None:
        """The next segment; the open one is sealed for its age only when no other waits, since a hub that was away for
        long is not to find thousands of small ones."""
        segment = self._spool.claim()
        if segment is None:
            self._spool.seal(self._pace.linger)
            segment = self._spool.claim()
        return segment

    async def _deliver(self, segment: Segment) -> None:
        """Send a segment and have it removed; or give it back and raise."""
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
        """Its lines and what is torn; None, and a loss, if they cannot be had. Raises OSError while there is hope."""
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
        """Go on without a segment. Its file, if there is one, stays for the next process: a disk may come back."""
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
            # were it the hub that refuses everything, the spool must not be emptied at full speed
            self.failures += 1
            await self._rest(self._pace.pause(self.failures, busy=False))
            return
        try:
            taken = await delivery.send_alone(line, limit)
        except Exception as fault:
            if is_refused_for_ever(fault):
                self._limit = min(limit, len(line)) // 2
            raise
        self._count(1, taken)
        self._limit = WHOLE

    def _count(self, records: int, taken: bool) -> None:
        self._done += records
        if not taken:
            return
        if self.failures > 1:
            log.warning("records flow again, after %d failures", self.failures)
        self.failures = self._unanswered = 0
        self.sent += records
        self.last_success = time.time()

    async def _failed(self, fault: BaseException) -> None:
        await self.close()
        if is_refused_for_ever(fault):
            if self._limit is None:
                log.warning("the hub refuses what a record is: they go one by one, that one shorter each time")
                self._limit = WHOLE
            return
        self.failures += 1
        self._unanswered = self._unanswered + 1 if isinstance(fault, TimeoutError) else 0
        if self.failures in (1, 10) or self.failures % 100 == 0:
            log.warning("records wait: sending failed %d times: %s", self.failures, type(fault).__name__)
            log.debug("the last failure", exc_info=fault)
        await self._rest(self._pace.pause(self.failures, is_busy(fault)))

    async def _rest(self, seconds: float) -> None:
        """Wait, unless there is word of a stop or a flush."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()
