"""The hub under test: the broker in its own process, and a real consumer that checks every record it reads."""

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import jsonschema
from azure.eventhub import EventData, EventHubConsumerClient, PartitionContext

ROOT = Path(__file__).parents[2]
SCHEMA = jsonschema.Draft202012Validator(json.loads((ROOT / "docs/record.schema.json").read_text()))

type Record = dict[str, Any]


class Broker:
    """`python -m dev.event_hubs` on a directory that outlives it."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dev.event_hubs", "--port=0", f"--dir={directory}", *arguments]
            + ["--parent-pid", str(os.getpid())],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        self._ready = json.loads(self._process.stdout.readline())
        self.conn_str: str = self._ready["connection_string"]
        self.port: int = self._ready["port"]

    @property
    def pid(self) -> int:
        return self._process.pid

    def faults(self, **faults: object) -> None:
        """Switch faults on; none clears them."""
        self._control("POST" if faults else "DELETE", "/faults", faults)

    def stats(self) -> dict[str, Any]:
        return self._control("GET", "/stats")

    def bodies(self) -> list[Record]:
        """Every record stored, straight from the broker's disk, checked against the schema."""
        return [checked(json.loads(event["body"])) for event in self._control("GET", "/events")["events"]]

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(10)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait(10)
        assert self._process.stdout
        self._process.stdout.close()

    def _control(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self._ready['control_port']}{path}"
        data = json.dumps(body).encode() if body else None
        with urllib.request.urlopen(urllib.request.Request(url, data, method=method), timeout=30) as answer:
            return json.loads(answer.read() or b"{}")


class HubReader:
    """Reads a hub from its start with azure-eventhub's consumer, and hands records out by their trace."""

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
        """The records of a trace, as soon as there are `count`; one of another shape fails the test."""

        def found() -> list[Record]:
            return [record for record in self._records if record["trace_id"] == trace_id]

        with self._more:
            assert self._more.wait_for(lambda: self._faults or len(found()) >= count, 20), "no such record"
        if self._faults:
            raise self._faults[0]
        return found()

    def all(self) -> list[Record]:
        with self._more:
            return list(self._records)

    def wait_for_total(self, count: int, seconds: float = 30) -> list[Record]:
        """All records, as soon as there are `count` with different ids."""
        with self._more:
            self._more.wait_for(lambda: len({record["id"] for record in self._records}) >= count, seconds)
            return list(self._records)

    def close(self) -> None:
        self._client.close()
        self._thread.join(10)

    def _read(self) -> None:
        # in batches: one event a turn, this client waits on every idle partition before it hands out the next
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
    """The record, if it is what the schema and the contract say."""
    SCHEMA.validate(record)
    if "time_to_first_chunk_ms" in record:
        assert record["time_to_first_chunk_ms"] + record["streaming_duration_ms"] == record["latency_ms"]
    assert ("time_to_first_chunk_ms" in record) <= (record["type"] == "stream_completion")
    return record


def wait_until(condition: Any, seconds: float = 20.0) -> None:
    """Wait for a condition that nothing announces."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met"
        time.sleep(0.01)
