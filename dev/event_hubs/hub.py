"""One event hub: its partitions, how events are routed to them, positions, and readers."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol
from zlib import crc32

from dev.event_hubs.amqp_values import AmqpError, Int, Timestamp, strings
from dev.event_hubs.log import PartitionLog

_POSITION: Final = re.compile(
    r"amqp\.annotation\.x-opt-(offset|sequence-number|enqueued-time)\s*(>=?)\s*('?)(-?\d+|@latest)\3"
)
# The service reports this time for an empty partition: the start of the year 1.
_NEVER: Final = Timestamp(-62_135_596_800_000)
# Epochs count replication segments of a geo-replicated hub (Integer in Java's client); this hub is not replicated.
_NO_EPOCH: Final = Int(-1)


class Reader(Protocol):
    """A link that reads one partition for one consumer group; with an epoch it excludes other readers."""

    epoch: int | None

    def wake(self) -> None:
        """New events have arrived."""

    def steal(self, description: str) -> None:
        """Another reader has taken the partition."""


@dataclass(slots=True)
class Partition:
    id: str
    log: PartitionLog
    readers: dict[str, list[Reader]] = field(default_factory=dict)
    """By consumer group."""

    def append(self, events: list[bytes], key: str | None) -> None:
        self.log.append(events, key)
        for group in self.readers.values():
            for reader in group:
                reader.wake()

    def position(self, selector: str | None) -> int:
        """The sequence number at which a consumer with this selector starts (None: all). Raises AmqpError."""
        if selector is None:
            return 0
        found = _POSITION.fullmatch(selector.strip())
        if not found:
            raise AmqpError("com.microsoft:argument-error", f"the selector {selector!r} is not supported")
        by, operator, _, value = found.groups()
        if value == "@latest":
            return len(self.log)
        inclusive = operator == ">="
        match by:
            case "offset":
                return self.log.after_offset(int(value), inclusive)
            case "enqueued-time":
                return self.log.after_time(int(value), inclusive)
        return min(max(int(value) + (not inclusive), 0), len(self.log))

    def join(self, group: str, reader: Reader) -> None:
        """Add a reader: the highest epoch wins, and the later of equal ones. Raises AmqpError if it loses."""
        present = self.readers.setdefault(group.lower(), [])
        owner = max((r.epoch for r in present if r.epoch is not None), default=None)
        if owner is not None and (reader.epoch is None or reader.epoch < owner):
            raise AmqpError(
                "amqp:link:stolen",
                f"At least one receiver for the endpoint is created with epoch of '{owner}', "
                f"and so a receiver of epoch '{reader.epoch}' is not allowed.",
            )
        if reader.epoch is not None:
            for loser in list(present):
                loser.steal(f"New receiver with higher epoch of '{reader.epoch}' is created.")
        present.append(reader)

    def leave(self, reader: Reader) -> None:
        for group in self.readers.values():
            if reader in group:
                group.remove(reader)

    def describe(self) -> dict[object, object]:
        last = self.log.last()
        return {
            "partition": self.id,
            "begin_sequence_number": 0,
            "begin_sequence_number_epoch": _NO_EPOCH,
            "last_enqueued_sequence_number": last.sequence_number if last else -1,
            "last_enqueued_sequence_number_epoch": _NO_EPOCH,
            "last_enqueued_offset": str(last.offset) if last else "-1",
            "last_enqueued_time_utc": Timestamp(last.milliseconds) if last else _NEVER,
            "is_partition_empty": last is None,
        }


class Hub:
    def __init__(self, name: str, partitions: int, directory: Path, clock: Callable[[], float] = time.time) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        logs = {str(n): directory / f"{name}-{n}.log" for n in range(partitions)}
        self.name = name
        self.partitions = {id: Partition(id, PartitionLog(path, clock)) for id, path in logs.items()}
        self._created = Timestamp(int(clock() * 1000))
        self._turn = 0

    def partition(self, partition_id: str) -> Partition:
        if partition_id not in self.partitions:
            raise AmqpError(
                "com.microsoft:argument-out-of-range",
                f"The specified partition is invalid for an EventHub partition sender or receiver. "
                f"It should be between 0 and {len(self.partitions) - 1}.",
            )
        return self.partitions[partition_id]

    def route(self, key: str | None) -> Partition:
        """The partition of a key, always the same one; without a key the partitions take turns."""
        if key is None:
            self._turn += 1
        chosen = self._turn - 1 if key is None else crc32(key.encode())
        return self.partitions[str(chosen % len(self.partitions))]

    def describe(self) -> dict[object, object]:
        return {
            "name": self.name,
            "type": "com.microsoft:eventhub",
            "created_at": self._created,
            "georeplication_factor": Int(1),
            "partition_count": len(self.partitions),
            "partition_ids": strings(*self.partitions),
        }

    def close(self) -> None:
        for partition in self.partitions.values():
            partition.log.close()
