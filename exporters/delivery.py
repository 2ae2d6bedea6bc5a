"""Delivery: one connection to the hub, and how the records of a segment go over it in batches."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from azure.core.exceptions import AzureError
from azure.eventhub import EventDataBatch
from azure.eventhub.aio import EventHubProducerClient
from azure.eventhub.exceptions import EventDataSendError

from exporters.blob import BlobStore
from exporters.hub import event_of
from exporters.losses import Losses
from exporters.oversize import shortened, without_data_uris
from exporters.record import record_id

log = logging.getLogger(__name__)

OPERATION_S: Final = 20.0
CLOSE_S: Final = 1.0
OVERHEAD: Final = 2048  # more than the AMQP encoding of one event and its properties adds
BATCH_BYTES: Final = 256 * 1024  # a larger one is built in a stall that the loop of the calls would feel

# What the hub says of a message rather than of itself: sent again it would be refused again.
REFUSED_FOR_EVER: Final = frozenset({"link:message-size-exceeded", "decode-error", "invalid-field", "not-implemented"})


class Delivery:
    """Sends lines until something fails; then it must be closed and a new one made.

    Each call to the client is bounded in time, since one to a frozen broker would never return.
    """

    def __init__(self, client: EventHubProducerClient, blobs: BlobStore | None, losses: Losses) -> None:
        self._client = client
        self._blobs = blobs
        self._losses = losses

    async def send(self, lines: list[bytes], sent: Callable[[int], None]) -> None:
        """Send the lines in order; `sent` is told how many more of them the hub has acknowledged or never will.

        Raises what the client raises (EventHubError, OSError), or TimeoutError.
        """
        batch, waiting = await self._new_batch(), 0
        for line in lines:
            if not self._add(batch, line):
                await self._send_batch(batch, waiting, sent)
                batch, waiting = await self._new_batch(), 0
                if not self._add(batch, line):
                    await self.send_alone(line, batch.max_size_in_bytes - OVERHEAD)
                    sent(1)
                    continue
            waiting += 1
        await self._send_batch(batch, waiting, sent)

    async def send_alone(self, line: bytes, limit: int) -> None:
        """Send one record in at most `limit` bytes: whole, or as a reference to its blob, or shortened.

        What is no record at all is lost, and counted. Raises as `send` does.
        """
        call = record_id(line)
        if call is None:
            self._losses.add("malformed")
            return
        small = line if len(line) <= limit else without_data_uris(line)
        if len(small) > limit:
            small = shortened(small, limit, content_bytes=len(line), **await self._store(call, line))
        batch = await self._new_batch()
        if not self._add(batch, small):
            self._losses.add("too_large")
            return
        await self._send_batch(batch, 1, lambda count: None)

    async def close(self) -> None:
        """Drop the connection, whatever state it is in."""
        with contextlib.suppress(Exception):
            await _bounded(self._client.close(), CLOSE_S)

    async def _new_batch(self) -> EventDataBatch:
        return await _bounded(self._client.create_batch())

    def _add(self, batch: EventDataBatch, line: bytes) -> bool:
        """Put a record in the batch; False if there is no room left."""
        if len(batch) and batch.size_in_bytes + len(line) > BATCH_BYTES:
            return False
        try:
            batch.add(event_of(line))
        except ValueError:
            return False
        return True

    async def _send_batch(self, batch: EventDataBatch, count: int, sent: Callable[[int], None]) -> None:
        if count:
            await _bounded(self._client.send_batch(batch))
            sent(count)

    async def _store(self, call: str, line: bytes) -> dict[str, str]:
        """Put the whole record into Blob Storage; nothing, if there is none or it does not answer."""
        if self._blobs is None:
            return {}
        try:
            return {"content_ref": await _bounded(self._blobs.put_record(call, line))}
        except (AzureError, OSError, TimeoutError) as fault:
            log.warning(
                "a record too large for the hub is shortened, since Blob Storage failed: %s", type(fault).__name__
            )
            return {}


def is_refused_for_ever(fault: Exception) -> bool:
    """Whether the hub refused what was sent, and not just now."""
    return isinstance(fault, EventDataSendError) and fault.error in REFUSED_FOR_EVER


def is_busy(fault: Exception) -> bool:
    """Whether the hub asked for less."""
    return "server-busy" in str(getattr(fault, "error", "")) or "server-busy" in str(fault) or "50002" in str(fault)


async def _bounded[T](operation: Awaitable[T], seconds: float = OPERATION_S) -> T:
    async with asyncio.timeout(seconds):
        return await operation
