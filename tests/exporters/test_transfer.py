"""The frames that `exporters.transfer` writes equal those that Event Hubs' client writes."""

import asyncio
from typing import Any

import pytest
from azure.eventhub import EventDataBatch
from azure.eventhub._pyamqp.aio._connection_async import Connection
from azure.eventhub._pyamqp.aio._sender_async import PendingDelivery, SenderLink
from azure.eventhub._pyamqp.aio._session_async import Session
from azure.eventhub._pyamqp.aio._transport_async import AsyncTransport
from azure.eventhub._pyamqp.constants import ConnectionState, SessionState, SessionTransferState
from hypothesis import example, given
from hypothesis import strategies as st

from exporters.batch import Add, add, add_by_client
from exporters.transfer import BatchLink

HEAD = b'{"type":"completion","schema_version":1,"id":"c0ffee"'


class Wire(AsyncTransport):
    """The client's own transport, which keeps what it would write to the socket."""

    def __init__(self) -> None:
        super().__init__("localhost")
        self.writes: list[bytes] = []

    async def _write(self, s: bytes) -> None:
        self.writes.append(bytes(s))


class Link:
    """A link of the client with its session and connection, opened without a broker."""

    def __init__(self, kind: type[SenderLink], frame: int, at: int = 0) -> None:
        """`frame` is the peer's maximum frame size; `at` is the number of earlier transfers."""
        self.wire = Wire()
        connection = Connection("amqp://localhost")
        connection._transport, connection.state = self.wire, ConnectionState.OPENED
        connection._remote_max_frame_size = frame
        self.session = Session(connection, 3, network_trace=False, network_trace_params={})
        self.session.state, self.session.remote_incoming_window = SessionState.MAPPED, 10
        self.session.next_outgoing_id = at
        self.link = kind(self.session, 2, "records", send_settle_mode=0, network_trace=False, network_trace_params={})
        self.link.delivery_count, self.link.current_link_credit = at, 5

    def send(self, batch: EventDataBatch) -> PendingDelivery:
        delivery = PendingDelivery(message=batch._message)
        self.settled = asyncio.run(self.link._outgoing_transfer(delivery))
        return delivery

    def state(self) -> tuple[Any, ...]:
        """Everything that a transfer changes."""
        session, link = self.session, self.link
        return (
            session.next_outgoing_id,
            session.remote_incoming_window,
            session.outgoing_window,
            link.delivery_count,
            link.current_link_credit,
            self.settled,
        )


def a_line(size: int) -> bytes:
    return HEAD + b"x" * size + b"}"


def filled(put: Add, lines: list[bytes]) -> EventDataBatch:
    batch = EventDataBatch()
    assert all(put(batch, line) for line in lines)
    return batch


@given(
    st.lists(st.integers(0, 600) | st.sampled_from([70_000, 200_000]), min_size=1, max_size=5),
    st.sampled_from([512, 4096, 65536]),
    st.sampled_from([0, 1, 255, 256, 2**31 - 1]),
)
@example([*range(260, 300)], 512, 0)  # the last frame is exactly full, and one byte more or less
def test_transfers_equal_the_clients(sizes: list[int], frame: int, at: int) -> None:
    """Byte for byte and frame by frame, each in one write; so do the link's and the session's counters."""
    lines = [a_line(size) for size in sizes]
    ours, theirs = Link(BatchLink, frame, at), Link(SenderLink, frame, at)
    delivered, expected = ours.send(filled(add, lines)), theirs.send(filled(add_by_client, lines))
    assert ours.wire.writes == theirs.wire.writes
    assert all(len(write) <= frame for write in ours.wire.writes)
    assert ours.state() == theirs.state()
    assert delivered.sent is expected.sent is True
    assert delivered.transfer_state is expected.transfer_state is SessionTransferState.OKAY
    assert delivered.frame["delivery_id"] == expected.frame["delivery_id"]  # by which it is acknowledged


@pytest.mark.parametrize("closed", ["window", "session"])
def test_a_delivery_that_may_not_be_sent_stays_pending(closed: str) -> None:
    """With a closed window or session nothing is written or counted."""
    line = Link(BatchLink, 65536)
    if closed == "window":
        line.session.remote_incoming_window = 0
    else:
        line.session.state = SessionState.END_RCVD
    before = (line.session.next_outgoing_id, line.link.delivery_count)
    delivery = line.send(filled(add, [a_line(100)]))
    assert (delivery.sent, delivery.transfer_state) == (False, SessionTransferState.BUSY)
    assert line.wire.writes == []
    assert (line.session.next_outgoing_id, line.link.delivery_count) == before


def test_other_batches_are_left_to_the_client() -> None:
    """Such as a batch that the client itself has filled."""
    ours, theirs = Link(BatchLink, 65536), Link(SenderLink, 65536)
    ours.send(filled(add_by_client, [a_line(70_000)]))
    theirs.send(filled(add_by_client, [a_line(70_000)]))
    assert ours.wire.writes == theirs.wire.writes != []
