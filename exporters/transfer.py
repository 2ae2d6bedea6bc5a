"""Transfer: writes a batch to the wire in frames, without copying its records before that.

Event Hubs' client joins a batch in one buffer, cuts it into frames, copies each of them twice more, and encodes the
same head for each. Here the client encodes two heads per batch, and each frame is joined once (docs/decisions/0011).
"""

import struct
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeGuard

from azure.eventhub._pyamqp._encode import encode_frame
from azure.eventhub._pyamqp.aio import _session_async
from azure.eventhub._pyamqp.aio._sender_async import PendingDelivery, SenderLink
from azure.eventhub._pyamqp.constants import SessionState, SessionTransferState
from azure.eventhub._pyamqp.message import BatchMessage
from azure.eventhub._pyamqp.performatives import TransferFrame

from exporters.batch import Event

HEADER: Final = 8
"""Bytes before a frame's performative: its size, where its data begins, its type and channel (AMQP 1.0 §2.3.1)."""


class BatchLink(SenderLink):
    """The client's link, except that it frames batches of `Event` itself."""

    async def _outgoing_transfer(self, delivery: PendingDelivery) -> bool:
        """Send the delivery, or leave it pending; True if it is settled already. Raises what the transport raises."""
        message: Any = delivery.message
        if not (isinstance(message, BatchMessage) and _is_ours(message.data)):
            settled: bool = await super()._outgoing_transfer(delivery)  # type: ignore[no-untyped-call]
            return settled
        session = self._session
        if session.state != SessionState.MAPPED or session.remote_incoming_window <= 0:
            delivery.transfer_state = SessionTransferState.BUSY
            return False
        count = self.delivery_count + 1
        delivery.frame = {
            "handle": self.handle,
            "delivery_id": session.next_outgoing_id,
            "delivery_tag": struct.pack(">I", count),
            "message_format": message._code,
            "settled": delivery.settled,
            "payload": b"",
        }
        connection = session._connection
        for frame in _frames(message.data, delivery.frame, session.channel, connection._remote_max_frame_size):
            await connection._transport.write(frame)
        connection._last_frame_sent_time = time.time()
        session.next_outgoing_id += 1
        session.remote_incoming_window -= 1
        session.outgoing_window -= 1
        delivery.transfer_state = SessionTransferState.OKAY
        self.delivery_count = count
        self.current_link_credit -= 1
        delivery.sent = True
        return False


def install_batch_link() -> None:
    """Make the client create links of this class from now on."""
    _session_async.SenderLink = BatchLink  # type: ignore[attr-defined]


def _is_ours(data: object) -> TypeGuard[list[Event]]:
    return isinstance(data, list) and all(isinstance(event, Event) for event in data)


def _frames(events: Iterable[Event], transfer: dict[str, Any], channel: int, size: int) -> Iterator[bytes]:
    """The frames of one transfer, each of at most `size` bytes."""
    # the two heads differ in one bit
    heads: list[tuple[bytes, Any]] = [encode_frame(TransferFrame(**transfer, more=more)) for more in (True, False)]
    (start, more), (_, last) = heads
    before = start[4:] + struct.pack(">H", channel)
    payloads = list(_cut(events, size - HEADER - len(last)))
    for number, payload in enumerate(payloads, 1):
        performative = last if number == len(payloads) else more
        length = HEADER + len(performative) + sum(map(len, payload))
        yield b"".join((length.to_bytes(4), before, performative, *payload))


def _cut(events: Iterable[Event], size: int) -> Iterator[list[memoryview]]:
    """The events' bytes in lists of pieces, each list of `size` bytes in total; the last one of what is left."""
    pieces, room = list[memoryview](), size
    for event in events:
        for part in event:
            rest = memoryview(part)
            while len(rest) > room:
                yield [*pieces, rest[:room]]
                pieces, rest, room = [], rest[room:], size
            pieces.append(rest)
            room -= len(rest)
    yield pieces
