"""A hub that does not let a consumer read: it ends, or says why nothing comes.

The stand-in for Event Hubs takes any consumer group, so here the client is one that does as the real one does then.
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
from analytics.consume.consumer import Consumer
from analytics.consume.lock import directory_lock
from analytics.folder import LocalFolder

NOT_FOUND = "The messaging entity could not be found. Error condition: amqp:not-found."


class Refused:
    """A client that gets no link to its one partition, which holds events: it is told of that, or waits for ever."""

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


async def nothing(consumer: Consumer) -> None:
    """Only run."""


async def refused(table: Path, *faults: EventHubError, then: Then = nothing) -> None:
    """Run a consumer until the client waits for ever, do something and stop it. Raises what ended it before."""
    client, stop = Refused(*faults), asyncio.Event()
    store = SqliteCheckpointStore(table / "checkpoints.sqlite")
    consumer = Consumer(client, store, directory_lock(table / "lock"), LocalFolder(table))  # type: ignore[arg-type]
    try:
        running = asyncio.create_task(consumer.run(stop))
        await client.waits.wait()
        await then(consumer)
        stop.set()
        await running
    finally:
        store.close()


@pytest.mark.parametrize("fault", [ConnectError(NOT_FOUND), AuthenticationError("Unauthorized access.")])
def test_what_will_not_get_better_ends_it(tmp_path: Path, fault: EventHubError) -> None:
    """A consumer group that is not there, or a key that may not read, is told by the exit."""
    with pytest.raises(type(fault)):
        asyncio.run(refused(tmp_path, fault))


def test_what_may_get_better_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A connection that is lost again and again is said, and the consumer goes on."""
    asyncio.run(refused(tmp_path, *(ConnectionLostError("Connection lost.") for _ in range(3))))
    assert caplog.messages == ["cannot read a partition at the moment: ConnectionLostError"]


@pytest.mark.parametrize(("silent_s", "said"), [(0.0, 1), (3600.0, 0)])
def test_silence_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, silent_s: float, said: int
) -> None:
    """Where events wait and none comes for long, what it may be is said, once."""
    monkeypatch.setattr(consumer_module, "_SILENT_S", silent_s)

    async def look_twice(consumer: Consumer) -> None:
        await consumer.look()
        await consumer.look()

    asyncio.run(refused(tmp_path, then=look_twice))
    assert caplog.messages == ["the hub has events but delivers none: does the consumer group typo exist?"] * said
