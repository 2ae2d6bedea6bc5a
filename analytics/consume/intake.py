"""Intake: events of one partition that are read but not yet written to a file."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

import orjson
import pyarrow as pa
from azure.eventhub.amqp import AmqpMessageBodyType

from analytics.rows import NotARecord, Record, bad, parse, table_of

SEQUENCE: Final = "_sequence"
"""An extra column: the event's sequence number in its partition."""


class Event(Protocol):
    """An event: azure-eventhub's EventData, or one from a file."""

    @property
    def body(self) -> Any: ...
    @property
    def body_type(self) -> AmqpMessageBodyType: ...
    @property
    def sequence_number(self) -> int | None: ...
    @property
    def offset(self) -> str | None: ...
    @property
    def enqueued_time(self) -> datetime | None: ...


@dataclass(frozen=True, slots=True)
class SetAside:
    """An event that is not a record, with the reason and its place in the hub."""

    sequence_number: int
    offset: str
    enqueued: str
    reason: str
    body: bytes

    def to_json(self) -> bytes:
        """One line of JSON; a body that is not UTF-8 is in base64."""
        try:
            text = {"body": self.body.decode()}
        except UnicodeDecodeError:
            text = {"body_base64": base64.b64encode(self.body).decode()}
        place = {"sequence_number": self.sequence_number, "offset": self.offset, "enqueued": self.enqueued}
        return orjson.dumps({"reason": self.reason, **place, **text}, option=orjson.OPT_APPEND_NEWLINE)


@dataclass(frozen=True, slots=True)
class Batch:
    """All events of a partition from `first` to `last`: rows for records, and what is set aside."""

    partition: str
    first: int
    last: int
    last_offset: str
    rows: pa.Table
    """Ordered by `SEQUENCE`."""
    aside: Sequence[SetAside]


class Intake:
    """Collects the events of one partition, in order."""

    def __init__(self, partition: str) -> None:
        self.partition = partition
        self.last = -1
        """Sequence number of the last event added, even if it has been taken since."""
        self._clear()

    def _clear(self) -> None:
        self.events = 0
        self.bytes = 0
        self._first = 0
        self._offset = ""
        self._tables: list[pa.Table] = []
        self._aside: list[SetAside] = []

    def add(self, events: Sequence[Event]) -> None:
        """Add events. Skips those delivered again, as after a reconnect."""
        numbers: list[int] = []
        records: list[Record] = []
        for event in events:
            number = event.sequence_number
            assert number is not None
            if number <= self.last:
                continue
            if not self.events:
                self._first = number
            self.last = number
            self.events += 1
            body = _body(event)
            try:
                records.append(parse(body))
                numbers.append(number)
            except NotARecord as fault:
                self._aside.append(_aside(event, str(fault)))
        if not self.events:
            return
        self._offset = str(events[-1].offset)
        try:
            rows = table_of(records)
        except NotARecord:
            rows, numbers = self._without_bad(events, records, numbers)
        self._tables.append(rows.append_column(SEQUENCE, pa.array(numbers, pa.int64())))
        self.bytes += rows.nbytes

    def _without_bad(
        self, events: Sequence[Event], records: list[Record], numbers: list[int]
    ) -> tuple[pa.Table, list[int]]:
        """The rows of the valid records; the others are set aside one by one."""
        good: list[Record] = []
        kept: list[int] = []
        by_number = {event.sequence_number: event for event in events}
        for record, number in zip(records, numbers, strict=True):
            reason = bad(record)
            if reason is None:
                good.append(record)
                kept.append(number)
            else:
                self._aside.append(_aside(by_number[number], reason))
        return table_of(good), kept

    def take(self) -> Batch | None:
        """Return everything collected, and start empty again. None if there is nothing."""
        if not self.events:
            return None
        aside = sorted(self._aside, key=lambda event: event.sequence_number)
        rows = pa.concat_tables(self._tables)
        batch = Batch(self.partition, self._first, self.last, self._offset, rows, aside)
        self._clear()
        return batch


def _body(event: Event) -> bytes:
    """The event's bytes; for an AMQP value other than data, its text."""
    try:
        body: Any = event.body
    except ValueError:  # no body at all
        return b""
    if isinstance(body, bytes):
        return body
    return b"".join(body) if event.body_type == AmqpMessageBodyType.DATA else str(body).encode()


def _aside(event: Event, reason: str) -> SetAside:
    enqueued = event.enqueued_time.isoformat() if event.enqueued_time else ""
    return SetAside(event.sequence_number or 0, str(event.offset), enqueued, reason, _body(event))
