"""The hub under test: the broker in its own process, and a real consumer that validates every record."""

import contextlib
import json
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jsonschema
from azure.eventhub import EventData, EventHubConsumerClient, PartitionContext

from dev.event_hubs.process import BrokerProcess

ROOT = Path(__file__).parents[2]
SCHEMA = jsonschema.Draft202012Validator(json.loads((ROOT / "docs/record.schema.json").read_text()))

PATIENCE_S = 60.0
"""How long to wait for an expected event: a shared machine may stall for a while."""

type Record = dict[str, Any]


class Broker(BrokerProcess):
    """`python -m dev.event_hubs` on a directory that outlives it."""

    @property
    def conn_str(self) -> str:
        return self.connection_string

    @property
    def pid(self) -> int:
        return self.process.pid

    def records(self) -> list[Record]:
        """Every record stored, read from the broker's disk and validated against the schema."""
        return [checked(json.loads(str(event["body"]))) for event in self.events()]

    def distinct(self) -> list[Record]:
        """The records stored, without duplicates."""
        return distinct(self.records())

    def close(self) -> None:
        if self.process.poll() is None:
            self.stop()


class HubReader:
    """Reads a hub from its start with azure-eventhub's consumer, and finds records by trace."""

    def __init__(self, conn_str: str) -> None:
        self._records: list[Record] = []
        self.events: list[EventData] = []
        self._more = threading.Condition()
        self._faults: list[BaseException] = []
        self._client = EventHubConsumerClient.from_connection_string(conn_str, consumer_group="$default")
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def record(self, trace_id: str) -> Record:
        """The one record of a trace."""
        (found,) = self.records(trace_id, 1)
        return found

    def records(self, trace_id: str, count: int) -> list[Record]:
        """The records of a trace, once there are `count`; an invalid one fails the test."""

        def found() -> list[Record]:
            return distinct(record for record in self._records if record["trace_id"] == trace_id)

        with self._more:
            assert self._more.wait_for(lambda: self._faults or len(found()) >= count, PATIENCE_S), "no such record"
        if self._faults:
            raise self._faults[0]
        return found()

    def all(self) -> list[Record]:
        with self._more:
            return list(self._records)

    def wait_for_total(self, count: int, seconds: float = PATIENCE_S) -> list[Record]:
        """All records, once there are `count` with different ids."""
        with self._more:
            self._more.wait_for(lambda: len(distinct(self._records)) >= count, seconds)
            return list(self._records)

    def close(self) -> None:
        self._client.close()
        self._thread.join(30)

    def _read(self) -> None:
        # in batches: event by event, this client waits on every idle partition before it delivers the next
        self._client.receive_batch(on_event_batch=self._on_events, starting_position="-1", max_batch_size=1000)

    def _on_events(self, context: PartitionContext, events: list[EventData]) -> None:
        with self._more:
            for event in events:
                try:
                    self._take(event)
                except BaseException as fault:
                    self._faults.append(fault)
            self._more.notify_all()

    def _take(self, event: EventData) -> None:
        record = checked(json.loads(event.body_as_str()))
        assert event.properties[b"type"].decode() == record["type"]
        assert event.properties[b"schema_version"] == record["schema_version"]
        assert event.content_type == "application/json"
        self._records.append(record)
        self.events.append(event)


def checked(record: Record) -> Record:
    """The record, validated against the schema and the contract."""
    SCHEMA.validate(record)
    if "time_to_first_chunk_ms" in record:
        assert record["time_to_first_chunk_ms"] + record["streaming_duration_ms"] == record["latency_ms"]
    assert ("time_to_first_chunk_ms" in record) <= (record["type"] == "stream_completion")
    return record


def distinct(records: Iterable[Record]) -> list[Record]:
    """At-least-once delivery: consumers drop duplicates by id."""
    return list({record["id"]: record for record in records}.values())


def spooled(directory: Path) -> list[Record]:
    """The records that a process left on disk."""
    lines: list[str] = []
    for path in directory.rglob("*.ndjson"):
        with contextlib.suppress(FileNotFoundError):  # it was just sent and deleted
            lines += path.read_text().splitlines()
    return [json.loads(line) for line in lines]


def wait_until(condition: Any, seconds: float = PATIENCE_S) -> None:
    """Poll a condition that has no event to wait for."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met"
        time.sleep(0.01)
