"""Delivery: one connection to the hub, which sends the records of a segment in batches."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from exporters.batch import Add, add
from exporters.blob import BlobStore
from exporters.data_uris import without_data_uris
from exporters.losses import Losses
from exporters.oversize import shortened
from exporters.pace import Pace
from exporters.record import record_id

if TYPE_CHECKING:
    from azure.eventhub import EventDataBatch
    from azure.eventhub.aio import EventHubProducerClient

log = logging.getLogger(__name__)

OVERHEAD: Final = 2048  # more than the AMQP encoding of one event and its properties adds
BATCH: Final = 100  # records; building more in one go would delay the calls, which share the interpreter

# Errors about the message, not the hub: a retry would be refused again.
TOO_LARGE: Final = "link:message-size-exceeded"
PERMANENT: Final = frozenset({TOO_LARGE, "decode-error", "invalid-field", "not-implemented"})


class Delivery:
    """Sends lines until something fails; then it must be closed and replaced.

    Each call to the client has a timeout, since one to a frozen broker would never return.
    """

    def __init__(
        self,
        client: "EventHubProducerClient",
        blobs: BlobStore | None,
        losses: Losses,
        pace: Pace,
        patience: float | None = None,
        put: Add = add,
    ) -> None:
        """`patience` is how many seconds the hub may take to respond, `pace.answer` if None. `put` must fit the links
        of `client`: see `exporters.hub`."""
        self._put = put
        self._client = client
        self._blobs = blobs
        self._losses = losses
        self._pace = pace
        self._patience = patience or pace.answer
        self._store_again_at = 0.0

    async def send(self, lines: list[memoryview], settled: Callable[[int, bool], None]) -> None:
        """Send the lines in order; `settled` gets how many more of them the hub has acknowledged (True), or never will
        (False).

        Raises what the client raises (EventHubError, OSError), or TimeoutError.
        """
        batch, waiting = await self._new_batch(), 0
        for line in lines:
            if not self._add(batch, line):
                await self._send_batch(batch, waiting, settled)
                batch, waiting = await self._new_batch(), 0
                if not self._add(batch, line):
                    settled(1, await self.send_alone(bytes(line)))
                    continue
            waiting += 1
        await self._send_batch(batch, waiting, settled)

    async def send_alone(self, line: bytes, limit: int | None = None) -> bool:
        """Send one record in at most `limit` bytes: whole, as a reference to its blob, or shortened.

        The link's own limit always applies. A line that is not a record is dropped and counted: False. Raises as `send`
        does.
        """
        call = record_id(line)
        if call is None:
            self._losses.add("malformed")
            return False
        batch = await self._new_batch()
        room = batch.max_size_in_bytes - OVERHEAD
        try:
            small = await self._fitted(call, line, room if limit is None else min(limit, room))
        except ValueError:
            self._losses.add("malformed")
            return False
        if not self._add(batch, small):
            self._losses.add("too_large")
            return False
        await _bounded(self._client.send_batch(batch), self._patience)
        return True

    async def close(self) -> None:
        """Close the connection, whatever state it is in."""
        with contextlib.suppress(Exception):
            await _bounded(self._client.close(), self._pace.close)

    async def _new_batch(self) -> "EventDataBatch":
        return await _bounded(self._client.create_batch(), self._patience)

    def _add(self, batch: "EventDataBatch", line: bytes | memoryview) -> bool:
        """Add a record to the batch; False if it does not fit or is not a record."""
        try:
            return len(batch) < BATCH and self._put(batch, line)
        except ValueError:
            return False

    async def _send_batch(self, batch: "EventDataBatch", count: int, settled: Callable[[int, bool], None]) -> None:
        if count:
            await _bounded(self._client.send_batch(batch), self._patience)
            settled(count, True)

    async def _fitted(self, call: str, line: bytes, limit: int) -> bytes:
        """The record in at most `limit` bytes if possible; raises ValueError if the line is not a record."""
        small = line if len(line) <= limit else without_data_uris(line)
        if len(small) <= limit:
            return small
        return shortened(small, limit, content_bytes=len(line), **await self._store(call, line))

    async def _store(self, call: str, line: bytes) -> dict[str, str]:
        """Put the whole record into Blob Storage and return its `content_ref`; {} without a store or if that fails.

        A store that does not respond is not tried again for a while: the records behind this one wait.
        """
        now = asyncio.get_running_loop().time()
        if self._blobs is None or now < self._store_again_at:
            return {}
        try:
            return {"content_ref": await _bounded(self._blobs.put_record(call, line), self._pace.store)}
        except Exception as fault:  # a shortened record is better than one that blocks the rest
            if isinstance(fault, TimeoutError):
                self._store_again_at = now + self._pace.longest_pause
            log.warning("Blob Storage failed; a record too large for the hub is shortened: %s", type(fault).__name__)
            return {}


def is_permanent_refusal(fault: BaseException) -> bool:
    """Whether the hub refused what was sent, and would refuse it again."""
    from azure.eventhub.exceptions import EventDataSendError, EventHubError

    error = fault.error if isinstance(fault, EventHubError) else None
    return error == TOO_LARGE or (isinstance(fault, EventDataSendError) and error in PERMANENT)


def is_busy(fault: BaseException) -> bool:
    """Whether the hub is throttling."""
    return "server-busy" in str(getattr(fault, "error", "")) or "server-busy" in str(fault) or "50002" in str(fault)


async def _bounded[T](operation: Awaitable[T], seconds: float) -> T:
    async with asyncio.timeout(seconds):
        return await operation
