"""Batch: how a record becomes an event of a batch.

Event Hubs' client encodes an event twice, once to know its size, and each time one property after the other. But the
events here differ only in their bodies: the client encodes one whose body is empty, and what it made of that is put
before each record (docs/decisions/0007).
"""

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from exporters.record import event_properties

if TYPE_CHECKING:
    from azure.eventhub import EventDataBatch

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

    As `batch.add` does with an EventData. Raises ValueError for a line that is no record.
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


def _body_head(length: int) -> bytes:
    return _BODY + (_SHORT + length.to_bytes(1) if length < 256 else _LONG + length.to_bytes(4))


@lru_cache(maxsize=16)
def _before_body(**properties: str | int) -> bytes:
    """The sections before the body, as the client encodes them."""
    from azure.eventhub import EventData, EventDataBatch

    empty = EventData(b"")
    empty.content_type = "application/json"
    empty.properties = dict[str | bytes, object](properties.items())
    scratch = EventDataBatch()
    scratch.add(empty)
    return bytes(scratch._message.data[0]).removesuffix(_body_head(0))
