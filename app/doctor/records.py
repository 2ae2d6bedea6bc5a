"""Reads the records of the doctor's calls from the hub, and compares them with what it received."""

import json
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from app.doctor.seen import Seen

if TYPE_CHECKING:
    from azure.eventhub import EventData, EventHubConsumerClient, PartitionContext

type Record = Mapping[str, object]

_COUNTS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")
_TIMES: Final = ("time_to_first_chunk_ms", "streaming_duration_ms", "latency_ms")


class Listener:
    """Reads the hub in a thread, from shortly before the calls."""

    def __init__(self, conn_str: str | None, namespace: str | None, hub: str | None) -> None:
        """With a connection string, which may name the hub, or with a namespace and the default credential.

        Raises ValueError or KeyError for an invalid connection string or a missing hub name.
        """
        self.fault: str | None = None
        """Why the hub cannot be read, if so."""
        self._records: dict[object, Record] = {}
        self._more = threading.Condition()
        self._client = _consumer(conn_str, namespace, hub)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def wait(self, trace_id: str, seconds: float) -> Record | None:
        """The record of a trace; None if it does not arrive in that time, or the hub cannot be read."""
        with self._more:
            self._more.wait_for(lambda: self.fault or trace_id in self._records, max(0.0, seconds))
            return self._records.get(trace_id)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()
        self._thread.join(5)

    def _read(self) -> None:
        clocks_may_differ = timedelta(minutes=5)
        self._client.receive_batch(
            on_event_batch=self._on_events,
            on_error=self._on_error,
            starting_position=datetime.now(UTC) - clocks_may_differ,
            max_wait_time=1,
        )

    def _on_events(self, context: "PartitionContext", events: "list[EventData]") -> None:
        for event in events:
            try:
                record = json.loads(event.body_as_str())
                with self._more:
                    self._records[record["trace_id"]] = record
                    self._more.notify_all()
            except (ValueError, TypeError, KeyError):  # the hub may contain other events
                continue

    def _on_error(self, context: "PartitionContext | None", fault: Exception) -> None:
        with self._more:
            self.fault = f"the hub cannot be read ({type(fault).__name__}); may you, or may the key, listen?"
            self._more.notify_all()


def _consumer(conn_str: str | None, namespace: str | None, hub: str | None) -> "EventHubConsumerClient":
    from azure.eventhub import EventHubConsumerClient

    if conn_str is not None:
        return EventHubConsumerClient.from_connection_string(conn_str, consumer_group="$default", eventhub_name=hub)
    from azure.identity import DefaultAzureCredential

    if not (namespace and hub):
        raise ValueError("the hub's name is missing")
    return EventHubConsumerClient(namespace, hub, consumer_group="$default", credential=DefaultAzureCredential())


def differences(record: Record, seen: Seen) -> list[str]:
    """Where a record differs from what the client received, or is incomplete."""
    wrong = []
    kind = "stream_completion" if seen.stream else "completion"
    for name, expected in (("type", kind), ("status", "completed"), ("http_status", 200)):
        if record.get(name) != expected:
            wrong.append(f"{name} is {record.get(name)!r} instead of {expected!r}")
    content = str(record.get("content"))
    masked = record.get("truncated") or "[redacted]" in content or record.get("content_captured") is False
    if content != seen.content and not masked:
        wrong.append("content differs")
    usage = record.get("usage")
    if not isinstance(usage, dict):
        wrong.append("usage is missing")
    elif seen.usage is not None and any(usage.get(name) != seen.usage.get(name) for name in _COUNTS):
        wrong.append("usage differs")
    first, rest, latency = (record.get(name) for name in _TIMES)
    if not isinstance(latency, int):
        wrong.append("latency_ms is missing")
    elif latency > seen.end * 1000 + 1:
        wrong.append(f"latency_ms is {latency}, but the client had everything after {seen.end * 1000:.0f}")
    elif seen.stream and not (isinstance(first, int) and isinstance(rest, int) and first + rest == latency):
        wrong.append("its times do not add up")
    return wrong


def generated_over(record: Record) -> float | None:
    """Seconds from the first token to the last byte, as the proxy measured them; None if it is not a stream."""
    first, latency = record.get("time_to_first_token_ms"), record.get("latency_ms")
    return (latency - first) / 1000 if isinstance(first, int) and isinstance(latency, int) else None
