"""Batch: adds records to a batch as events.

Event Hubs' client encodes an event twice, once to learn its size, and each time property by property. But events here
differ only in their bodies: the client encodes one with an empty body, and the result is put before each record
(docs/decisions/0007). `add` does so, and writes to private attributes of the batch; only `exporters.transfer` can send
what it adds. `add_by_client` is the public way.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from exporters.record import event_properties

if TYPE_CHECKING:
    from azure.eventhub import EventData, EventDataBatch

type Add = Callable[["EventDataBatch", bytes | memoryview], bool]
"""Adds one record to a batch; False if it does not fit. Raises ValueError for a line that is not a record."""

# AMQP 1.0: a section described by the ulong 0x75 (§3.2.6), whose binary has its length in one byte or in four (§1.6.19)
_BODY: Final = b"\x00\x53\x75"
_SHORT: Final = b"\xa0"
_LONG: Final = b"\xb0"


class Event(NamedTuple):
    """One event as a batch holds it: a data section, whose binary is an encoded message."""

    before: bytes
    line: bytes | memoryview


def add(batch: "EventDataBatch", line: bytes | memoryview) -> bool:
    """Add one record to the batch; False if it does not fit.

    Same result as `add_by_client`. Raises ValueError for a line that is not a record.
    """
    before, head = _before_body(**event_properties(line)), _body_head(len(line))
    length = len(before) + len(head) + len(line)
    outer = _body_head(length)
    size = batch.size_in_bytes + len(outer) + length
    if size > batch.max_size_in_bytes:
        return False
    batch._message.data.append(Event(outer + before + head, line))
    batch._size = size
    batch._count += 1
    return True


def add_by_client(batch: "EventDataBatch", line: bytes | memoryview) -> bool:
    """Add one record to the batch; False if it does not fit.

    Raises ValueError for a line that is not a record.
    """
    event = _event(bytes(line), event_properties(line))
    try:
        batch.add(event)
    except ValueError:  # the batch is full
        return False
    return True


def _event(body: bytes, properties: Mapping[str, str | int]) -> "EventData":
    from azure.eventhub import EventData

    event = EventData(body)
    event.content_type = "application/json"
    event.properties = dict[str | bytes, object](properties.items())
    return event


def _body_head(length: int) -> bytes:
    return _BODY + (_SHORT + length.to_bytes(1) if length < 256 else _LONG + length.to_bytes(4))


@lru_cache(maxsize=16)
def _before_body(**properties: str | int) -> bytes:
    """The sections before the body, as the client encodes them."""
    from azure.eventhub import EventDataBatch

    scratch = EventDataBatch()
    scratch.add(_event(b"", properties))
    return bytes(scratch._message.data[0]).removesuffix(_body_head(0))
