"""Consumer: reads its share of a hub's partitions and writes their events to the table, partition by partition.

azure-eventhub balances the partitions among the consumers of a group. Correctness does not depend on ownership: two
consumers that both believe they own a partition still write each event once (see `writer`).
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from azure.eventhub import EventData
from azure.eventhub.aio import CheckpointStore, EventHubConsumerClient, PartitionContext
from azure.eventhub.exceptions import AuthenticationError

from analytics.consume.intake import Batch, Intake
from analytics.consume.lock import LockLost, TableLock, Valid
from analytics.consume.merge import merge
from analytics.consume.writer import Writer, Written, stream_id
from analytics.folder import Folder

log = logging.getLogger(__name__)

BALANCE_S: Final = 4.0
EXPIRE_S: Final = 16.0
"""How long a dead consumer keeps its partitions: with the balancing interval of the others, they move within 25 s."""
_BATCH: Final = 1000
_AHEAD: Final = 4000
"""Events to prefetch, over all partitions: they may be large."""
_TICK_S: Final = 0.1
_SILENT_S: Final = 30.0
_ROWS: Final = 20_000
_BYTES: Final = 128 << 20
"""Above this, over all intakes, the largest is flushed."""


@dataclass(slots=True)
class Counts:
    """Totals since the start, and the progress of each partition."""

    records: int = 0
    repeats: int = 0
    aside: int = 0
    ends: dict[str, int] = field(default_factory=dict)
    """The last sequence number of each partition, as the hub reported it."""
    positions: dict[str, int] = field(default_factory=dict)
    """The last known checkpoint of each partition."""

    def lag(self, partition: str) -> int:
        return max(0, self.ends.get(partition, -1) - self.positions.get(partition, -1))


class Consumer:
    """One consumer of a group, for one run."""

    def __init__(
        self,
        client: EventHubConsumerClient,
        store: CheckpointStore,
        lock: TableLock,
        folder: Folder,
        writer: Callable[[Folder, str], Writer] = Writer,
        flush_seconds: float = 2.0,
    ) -> None:
        self.counts = Counts()
        self._client = client
        self._store = store
        self._lock = lock
        self._folder = folder
        self._hub = (client._address.hostname, client.eventhub_name, client._consumer_group)
        self.stream = stream_id(*self._hub)
        self._writer = writer(folder, self.stream)
        self._flush_seconds = flush_seconds
        self._intakes: dict[str, Intake] = {}
        self._waiting_since: dict[str, float] = {}
        self._flush_locks: dict[str, asyncio.Lock] = {}
        self._recovered: set[str] = set()
        self._open: dict[str, set[str]] = {}
        """By partition: the hours that may have several files."""
        self._warned: set[str] = set()
        self._active_at = time.monotonic()
        """When an event was last received or written."""
        self._writing: set[asyncio.Task[None]] = set()
        self._failure: asyncio.Future[None] | None = None

    async def run(self, stop: asyncio.Event, once: bool = False) -> None:
        """Read until `stop` is set, or with `once` until every partition is written up to its end at the start.

        Raises the error that prevented a write; nothing is lost, since the next run starts at the checkpoints.
        """
        self._failure = asyncio.get_running_loop().create_future()
        await self.refresh()
        if self._failure.done():
            await self._failure
        ends = dict(self.counts.ends)
        ahead = min(_BATCH, max(50, _AHEAD // max(1, len(ends))))
        receiving = asyncio.create_task(
            self._client.receive_batch(
                self._on_events,
                on_partition_initialize=self._on_begin,
                on_partition_close=self._on_end,
                on_error=self._on_error,
                starting_position="-1",
                max_batch_size=ahead,
                prefetch=ahead,
            )
        )
        try:
            while not stop.is_set() and not (once and await self._reached(ends)):
                for done in (self._failure, receiving):
                    if done.done():
                        await done
                await self._flush_old(ends if once else {})
                await asyncio.sleep(_TICK_S)
            await asyncio.gather(*map(self._flush, list(self._intakes)))
            if self._failure.done():
                await self._failure
        finally:
            receiving.cancel()
            await asyncio.gather(receiving, *self._writing, return_exceptions=True)

    async def refresh(self) -> None:
        """Get the checkpoints from the store and the end of each partition from the hub, which must be past them."""
        positions = await self._positions()  # first, or they could move past the ends read below
        partitions = await self._client.get_partition_ids()
        found = await asyncio.gather(*map(self._client.get_partition_properties, partitions))
        # a partition whose events have all expired still reports its last number: there is nothing to wait for
        self.counts.ends = {
            each["id"]: -1 if each["is_empty"] else each["last_enqueued_sequence_number"] for each in found
        }
        self.counts.positions |= positions
        if any(map(self.counts.lag, self._intakes)) and time.monotonic() - self._active_at > _SILENT_S:
            # the client waits forever for a link that the hub refuses
            self._warn_once("the hub has events but delivers none: does the consumer group %s exist?", self._hub[2])
        for each in found:
            if positions.get(each["id"], -1) > each["last_enqueued_sequence_number"]:
                self._fail(
                    OtherHub(
                        f"the checkpoint of partition {each['id']} is past its end: this is another hub of the same"
                        " name. Use another consumer group or table."
                    )
                )

    async def _positions(self) -> dict[str, int]:
        found = await self._store.list_checkpoints(*self._hub)
        return {each["partition_id"]: int(each["sequence_number"]) for each in found}

    async def _reached(self, ends: dict[str, int]) -> bool:
        """Whether every partition is written up to there, by any consumer."""
        mine = self.counts.positions
        if any(mine.get(partition, -1) < end for partition, end in ends.items() if partition in self._intakes):
            return False
        if all(mine.get(partition, -1) >= end for partition, end in ends.items()):
            return True
        mine |= await self._positions()
        return all(mine.get(partition, -1) >= end for partition, end in ends.items())

    async def _on_begin(self, context: PartitionContext) -> None:
        self._intakes[context.partition_id] = Intake(context.partition_id)
        self._recovered.discard(context.partition_id)  # an owner in between may have been killed

    async def _on_end(self, context: PartitionContext, reason: Any) -> None:
        """The next owner of the partition reads again what was not written."""
        self._intakes.pop(context.partition_id, None)

    async def _on_error(self, context: PartitionContext | None, fault: Exception) -> None:
        """A partition's link failed. The client reconnects at its next balancing; give up if that cannot succeed."""
        if isinstance(fault, AuthenticationError) or "amqp:not-found" in str(fault):
            self._fail(fault)  # for example, the consumer group does not exist
        else:
            self._warn_once("cannot read a partition at the moment: %s", type(fault).__name__)

    def _warn_once(self, format: str, value: str) -> None:
        message = format % value
        if message not in self._warned:
            self._warned.add(message)
            log.warning(message)

    async def _on_events(self, context: PartitionContext, events: list[EventData]) -> None:
        self._active_at = time.monotonic()
        intake = self._intakes.get(context.partition_id)
        if intake is None or not events:
            return
        if not intake.events:
            self._waiting_since[intake.partition] = time.monotonic()
        try:
            intake.add(events)
        except Exception as fault:  # the client would only log it and skip the events
            self._fail(fault)
            raise
        if intake.events >= _ROWS:
            await self._flush(intake.partition)
        elif sum(each.bytes for each in self._intakes.values()) > _BYTES:
            await self._flush(max(self._intakes.values(), key=lambda each: each.bytes).partition)

    async def _flush_old(self, ends: dict[str, int]) -> None:
        """Write intakes that are due, or that have reached the partition's end in `ends`."""
        due = time.monotonic() - self._flush_seconds
        for partition, intake in list(self._intakes.items()):
            complete = partition in ends and intake.last >= ends[partition]
            if intake.events and (complete or self._waiting_since[partition] <= due):
                await self._flush(partition)

    async def _flush(self, partition: str) -> None:
        """Write an intake's events; cancelling this call does not cancel the write."""
        async with self._flush_locks.setdefault(partition, asyncio.Lock()):
            intake = self._intakes.get(partition)
            batch = intake.take() if intake else None
            if batch is None:
                return
            writing = asyncio.create_task(self._write(batch))
            self._writing.add(writing)
            writing.add_done_callback(self._writing.discard)
            await asyncio.shield(writing)

    async def _write(self, batch: Batch) -> None:
        try:
            async with self._lock() as valid:
                # no batch may follow a failed one, or the checkpoint would skip it
                if self._failure is not None and not self._failure.done():
                    await self._commit(batch, valid)
        except Exception as fault:
            self._fail(fault)

    async def _commit(self, batch: Batch, valid: Valid) -> None:
        partition = batch.partition
        position = (await self._positions()).get(partition, -1)
        if partition not in self._recovered:
            next_event = max(batch.first, position + 1)
            self._open[partition] = await asyncio.to_thread(
                self._writer.recover, partition, position, next_event, valid
            )
            self._recovered.add(partition)
        written = await asyncio.to_thread(self._writer.write, batch, position, valid)
        if not valid():
            raise LockLost("the table's lock was lost before the checkpoint")
        if batch.last > position:
            await self._checkpoint(batch)
        self._active_at = time.monotonic()
        self.counts.records += written.records
        self.counts.repeats += written.repeats
        self.counts.aside += written.aside
        self.counts.positions[partition] = max(batch.last, position)
        await asyncio.to_thread(self._merge, partition, written, valid)

    async def _checkpoint(self, batch: Batch) -> None:
        namespace, hub, group = self._hub
        await self._store.update_checkpoint(
            {
                "fully_qualified_namespace": namespace,
                "eventhub_name": hub,
                "consumer_group": group,
                "partition_id": batch.partition,
                "sequence_number": batch.last,
                "offset": batch.last_offset,
            }
        )

    def _merge(self, partition: str, written: Written, valid: Valid) -> None:
        """Merge small files of the hours just written, and all files of hours that are over."""
        hours = self._open[partition]
        hours |= written.hours
        newest = sorted(hours)[-2:]  # long calls still arrive for the hour before
        for hour in sorted(hours):
            closed = hour not in newest and hour not in written.hours
            if valid():
                position = self.counts.positions[partition]
                merge(self._folder, hour, self.stream, partition, position, closed=closed)
            if closed:
                hours.discard(hour)

    def _fail(self, fault: Exception) -> None:
        if self._failure is not None and not self._failure.done():
            self._failure.set_exception(fault)


class OtherHub(Exception):
    """The checkpoints belong to another hub."""
