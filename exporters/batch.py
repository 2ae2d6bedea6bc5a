"""Batch: how a record becomes an event of a batch.

Event Hubs' client encodes an event twice, once to know its size, and each time one property after the other. But the
events here differ only in their bodies: the client encodes one whose body is empty, and what it made of that is put
before each record (docs/decisions/0007). `add` does so, and writes attributes of a batch that are not public; only
`exporters.transfer` can send what it adds. `add_by_client` is the public way.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from exporters.record import event_properties

if TYPE_CHECKING:
    from azure.eventhub import EventData, EventDataBatch

type Add = Callable[["EventDataBatch", bytes | memoryview], bool]
"""Puts the event of one record in a batch; False if there is no room left. Raises ValueError for what is no record."""

# AMQP 1.0: a section described by the ulong 0x75 (§3.2.6), whose binary has its length in one byte or in four (§1.6.19)
_BODY: Final = b"\x00\x53\x75"
_SHORT: Final = b"\xa0"
_LONG: Final = b"\xb0"


class Event(NamedTuple):
    """One event as a batch holds it: a section of data, whose binary is an encoded message."""

    before: bytes
    line: bytes | memoryview


def add(batch: "EventDataBatch", line: bytes | memoryview) -> bool:
    """Put the event of one record in the batch; False if there is no room left.

    As `add_by_client` does. Raises ValueError for a line that is no record.
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
    """Put the event of one record in the batch; False if there is no room left.

    Raises ValueError for a line that is no record.
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
