"""Links: a client publishes to the hub, reads from a partition, or exchanges messages with a node."""

import struct
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from typing import Final, Protocol

from dev.event_hubs.amqp import Flow, Transfer, accepted
from dev.event_hubs.amqp_values import AmqpError, Described
from dev.event_hubs.broker import Broker
from dev.event_hubs.hub import Partition
from dev.event_hubs.message import REPLY_TO, annotate
from dev.event_hubs.nodes import Node, respond

_CREDIT: Final = 1000
"""Credit given to a client, in messages; renewed when half of it is used."""


class Session(Protocol):
    """What a link needs from its session."""

    @property
    def links(self) -> Mapping[int, "Link"]:
        """The links of the session, by handle."""

    @property
    def broker(self) -> Broker: ...

    def flow(self, flow: Flow) -> None:
        """Send a flow; the session fills in its own fields."""

    def settle(self, delivery_id: int, state: Described) -> None:
        """Settle a delivery from the client."""

    def transfer(self, first: Transfer, message: bytes) -> bool:
        """Send a message; if there is no room now, send nothing and return False."""

    def detach(self, link: "Link", error: AmqpError) -> None:
        """End a link from this side."""

    def reset(self) -> None:
        """Break the connection."""


class Link:
    """One link as the broker sees it. `role` is True if the broker receives."""

    role: bool

    def __init__(self, session: Session, name: str, handle: int) -> None:
        self.session = session
        self.name = name
        self.handle = handle
        self.delivery_count = 0

    def opened(self) -> None:
        """The attach has been sent."""

    def closed(self) -> None:
        """The link has been detached by either side."""


class IncomingLink(Link, ABC):
    """A link on which the client sends; joins the parts of a message and passes it to `take`."""

    role = True

    def __init__(self, session: Session, name: str, handle: int, max_message_size: int | None) -> None:
        super().__init__(session, name, handle)
        self._max_message_size = max_message_size
        self._credit = 0
        self._first: Transfer | None = None
        self._parts = bytearray()

    def opened(self) -> None:
        self._renew_credit()

    def _renew_credit(self) -> None:
        self._credit = _CREDIT
        self.session.flow(Flow(handle=self.handle, delivery_count=self.delivery_count, link_credit=_CREDIT))

    def transfer(self, transfer: Transfer, payload: bytes) -> None:
        """Take one transfer frame. Raises AmqpError past the link's max-message-size."""
        if transfer.aborted:
            self._first, self._parts = None, bytearray()
            return
        if self._first is None:
            self._first = transfer
        self._parts += payload
        if self._max_message_size is not None and len(self._parts) > self._max_message_size:
            raise AmqpError(
                "amqp:link:message-size-exceeded",
                f"The received message (delivery-id:{self._first.delivery_id}, size:{len(self._parts)} "
                f"bytes) exceeds the limit ({self._max_message_size} bytes) currently allowed on the link.",
            )
        if transfer.more:
            return
        first, message = self._first, bytes(self._parts)
        self._first, self._parts = None, bytearray()
        self.delivery_count += 1
        self._credit -= 1
        if self._credit <= _CREDIT // 2:
            self._renew_credit()
        self.take(first, message)

    @abstractmethod
    def take(self, first: Transfer, message: bytes) -> None:
        """Process one whole message."""

    def settle(self, first: Transfer, state: Described) -> None:
        if not first.settled:
            self.session.settle(first.delivery_id or 0, state)


class PublisherLink(IncomingLink):
    """Events for the hub, or for one partition of it."""

    def __init__(self, session: Session, name: str, handle: int, size: int, partition: Partition | None) -> None:
        super().__init__(session, name, handle, size)
        self._partition = partition

    def transfer(self, transfer: Transfer, payload: bytes) -> None:
        if self.session.broker.drops_after(len(payload)):
            self.session.reset()
        else:
            super().transfer(transfer, payload)

    def take(self, first: Transfer, message: bytes) -> None:
        self.session.broker.ingest(
            message,
            first.message_format or 0,
            self._partition,
            lambda state: self.settle(first, state),
            self.session.reset,
        )


class RequestLink(IncomingLink):
    """Requests to a node; the reply goes to the session's ReplyLink from the same node."""

    def __init__(self, session: Session, name: str, handle: int, address: str, node: Node) -> None:
        super().__init__(session, name, handle, None)
        self._address = address
        self._node = node

    def take(self, first: Transfer, message: bytes) -> None:
        reply, request = respond(self._node, message)
        self.settle(first, accepted())
        reply_to = request.property(REPLY_TO)
        for link in self.session.links.values():
            # Python's client leaves reply-to null and has one reply link per node; JavaScript's names the link
            if (
                isinstance(link, ReplyLink)
                and link.source == self._address
                and reply_to in (None, link.target or link.name)
            ):
                link.send(reply)
                return


class OutgoingLink(Link, ABC):
    """A link on which the broker sends, within the client's credit and the session's window."""

    role = False

    def __init__(self, session: Session, name: str, handle: int, settled: bool) -> None:
        super().__init__(session, name, handle)
        self._credit = 0
        self._settled = settled

    def flow(self, flow: Flow) -> None:
        if flow.link_credit is not None:
            self._credit = max(0, (flow.delivery_count or 0) + flow.link_credit - self.delivery_count)
        self.pump()
        if flow.drain and self._credit:
            self.delivery_count += self._credit
            self._credit = 0
            self.session.flow(Flow(handle=self.handle, delivery_count=self.delivery_count, link_credit=0, drain=True))

    def pump(self) -> None:
        """Send messages while there are any and credit is left."""
        while self._credit > 0 and (message := self.peek()) is not None:
            tag = struct.pack(">I", self.delivery_count & 0xFFFFFFFF)
            first = Transfer(self.handle, None, tag, 0, self._settled)
            if not self.session.transfer(first, message):
                return
            self._credit -= 1
            self.delivery_count += 1
            self.sent()

    @abstractmethod
    def peek(self) -> bytes | None:
        """The next message to send, if any."""

    @abstractmethod
    def sent(self) -> None:
        """The message of the last `peek` has been sent."""


class ReplyLink(OutgoingLink):
    def __init__(self, session: Session, name: str, handle: int, source: str, target: str) -> None:
        super().__init__(session, name, handle, settled=True)
        self.source = source
        self.target = target
        self._waiting: deque[bytes] = deque()

    def send(self, message: bytes) -> None:
        self._waiting.append(message)
        self.pump()

    def peek(self) -> bytes | None:
        return self._waiting[0] if self._waiting else None

    def sent(self) -> None:
        self._waiting.popleft()


class ConsumerLink(OutgoingLink):
    """The events of one partition, from a position on, as they arrive."""

    def __init__(
        self,
        session: Session,
        name: str,
        handle: int,
        settled: bool,
        partition: Partition,
        position: int,
        epoch: int | None,
        report_last: bool,
    ) -> None:
        super().__init__(session, name, handle, settled)
        self.epoch = epoch
        self._partition = partition
        self._position = position
        self._report_last = report_last

    def wake(self) -> None:
        self.pump()

    def steal(self, description: str) -> None:
        self.session.detach(self, AmqpError("amqp:link:stolen", description))

    def closed(self) -> None:
        self._partition.leave(self)

    def peek(self) -> bytes | None:
        log = self._partition.log
        if self._position >= len(log):
            return None
        place, event = log.read(self._position)
        return annotate(event, place, log.last() if self._report_last else None)

    def sent(self) -> None:
        self._position += 1
