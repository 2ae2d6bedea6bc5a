"""A hub that does not deliver: the consumer ends, or logs the likely cause.

The stand-in for Event Hubs accepts any consumer group, so a fake client behaves as the real one does here.
"""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from azure.eventhub.exceptions import AuthenticationError, ConnectError, ConnectionLostError, EventHubError

from analytics.consume import consumer as consumer_module
from analytics.consume.checkpoints import SqliteCheckpointStore
from analytics.consume.consumer import Consumer, OtherHub
from analytics.consume.intake import Batch
from analytics.consume.lock import directory_lock
from analytics.folder import LocalFolder
from analytics.rows import table_of

NOT_FOUND = "The messaging entity could not be found. Error condition: amqp:not-found."


class RefusedClient:
    """A client that gets no link to its one partition, which holds events: it reports errors, or waits forever."""

    _address = SimpleNamespace(hostname="hub.example")
    eventhub_name, _consumer_group = "records", "typo"

    def __init__(self, *faults: EventHubError) -> None:
        self._faults = faults
        self.waits = asyncio.Event()

    async def get_partition_ids(self) -> list[str]:
        return ["0"]

    async def get_partition_properties(self, partition: str) -> dict[str, Any]:
        return {"id": partition, "is_empty": False, "last_enqueued_sequence_number": 19}

    async def receive_batch(
        self, on_batch: object, *, on_partition_initialize: Any, on_error: Any, **_: object
    ) -> None:
        partition = SimpleNamespace(partition_id="0")
        await on_partition_initialize(partition)
        for fault in self._faults:
            await on_error(partition, fault)
        self.waits.set()
        await asyncio.Event().wait()


type Then = Callable[[Consumer], Coroutine[Any, Any, None]]


async def nothing(consumer: Consumer) -> None: ...


async def run_refused(table: Path, *faults: EventHubError, then: Then = nothing, checkpoint: int | None = None) -> None:
    """Run a consumer until the client waits, call `then` and stop it. Raises an error that ended it before."""
    client, stop = RefusedClient(*faults), asyncio.Event()
    store = SqliteCheckpointStore(table / "checkpoints.sqlite")
    consumer = Consumer(client, store, directory_lock(table / "lock"), LocalFolder(table))  # type: ignore[arg-type]
    if checkpoint is not None:
        await consumer._checkpoint(Batch("0", 0, checkpoint, "0", table_of([]), []))
    try:
        running = asyncio.create_task(consumer.run(stop))
        await asyncio.wait([running, asyncio.create_task(client.waits.wait())], return_when="FIRST_COMPLETED")
        await then(consumer)
        stop.set()
        await running
    finally:
        store.close()


@pytest.mark.parametrize("fault", [ConnectError(NOT_FOUND), AuthenticationError("Unauthorized access.")])
def test_permanent_errors_end_the_consumer(tmp_path: Path, fault: EventHubError) -> None:
    """A missing consumer group, or a key without read access, ends it with the error."""
    with pytest.raises(type(fault)):
        asyncio.run(run_refused(tmp_path, fault))


def test_temporary_errors_are_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A connection that is lost repeatedly is logged, and the consumer continues."""
    asyncio.run(run_refused(tmp_path, *(ConnectionLostError("Connection lost.") for _ in range(3))))
    assert caplog.messages == ["cannot read a partition at the moment: ConnectionLostError"]


@pytest.mark.parametrize(("silent_s", "said"), [(0.0, 1), (3600.0, 0)])
def test_silence_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, silent_s: float, said: int
) -> None:
    """If the hub has events but delivers none for long, the log suggests a cause."""
    monkeypatch.setattr(consumer_module, "_SILENT_S", silent_s)

    async def refresh_twice(consumer: Consumer) -> None:
        await consumer.refresh()
        await consumer.refresh()

    asyncio.run(run_refused(tmp_path, then=refresh_twice))
    assert caplog.messages == ["the hub has events but delivers none: does the consumer group typo exist?"] * said


def test_another_hub_of_the_same_name_is_refused(tmp_path: Path) -> None:
    """A checkpoint past the hub's end belongs to a hub that was deleted; one at the end is valid."""
    asyncio.run(run_refused(tmp_path, checkpoint=19))
    with pytest.raises(OtherHub):
        asyncio.run(run_refused(tmp_path, checkpoint=20))
