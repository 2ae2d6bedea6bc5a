"""A session: attaches links to their addresses, carries transfers within the windows, and settles them."""

from dataclasses import replace
from typing import Final, Protocol

from dev.event_hubs.address import HubAddress, filter_of, parse, path_of
from dev.event_hubs.amqp import Attach, Begin, Detach, Disposition, End, Flow, Performative, Transfer, error_value
from dev.event_hubs.amqp_values import AmqpError, Array, Described
from dev.event_hubs.broker import Broker
from dev.event_hubs.links import (
    ConsumerLink,
    IncomingLink,
    Link,
    OutgoingLink,
    PublisherLink,
    ReplyLink,
    RequestLink,
)
from dev.event_hubs.nodes import CBS, MANAGEMENT, Node, cbs, management

# Never exhausted: only credit limits a sender.
_INCOMING_WINDOW: Final = 2**31 - 1
_OUTGOING_WINDOW: Final = 2**31 - 1
_HANDLE_MAX: Final = 255
_TRANSFER_OVERHEAD: Final = 64
_METRIC: Final = "com.microsoft:enable-receiver-runtime-metric"
_EPOCH: Final = "com.microsoft:epoch"
_UNSETTLED: Final = 0


class Connection(Protocol):
    """What a session needs from its connection."""

    broker: Broker
    max_frame_size: int
    authorised_paths: set[str]

    @property
    def writable(self) -> bool:
        """Whether the connection can send more now."""

    def is_authorised(self, path: str) -> bool:
        """Whether a token put on this connection covers the path."""

    def send(self, channel: int, performative: Performative, payload: bytes = b"") -> None:
        """Send a frame."""

    def reset(self) -> None:
        """Break the connection."""


class Session:
    def __init__(self, connection: Connection, channel: int, begin: Begin) -> None:
        self.links: dict[int, Link] = {}
        self._connection = connection
        self._channel = channel
        self._next_incoming_id = begin.next_outgoing_id or 0
        self._next_outgoing_id = 0
        """Counts frames (transfer ids), as the windows do."""
        self._next_delivery_id = 0
        self._window = begin.incoming_window or 0
        self._send(Begin(channel, 0, _INCOMING_WINDOW, _OUTGOING_WINDOW, _HANDLE_MAX))

    @property
    def broker(self) -> Broker:
        return self._connection.broker

    def _send(self, performative: Performative, payload: bytes = b"") -> None:
        self._connection.send(self._channel, performative, payload)

    def reset(self) -> None:
        self._connection.reset()

    def receive(self, performative: Performative, payload: bytes) -> None:
        """Process one frame of this session. Raises AmqpError for errors that end the connection."""
        match performative:
            case Transfer(handle=handle):
                self._next_incoming_id += 1
                self._receive_transfer(handle, performative, payload)
            case Flow():
                self._receive_flow(performative)
            case Attach():
                self._receive_attach(performative)
            case Detach(handle=handle):
                link = self.links.pop(handle or 0, None)
                if link:
                    link.closed()
                    self._send(Detach(handle, closed=True))
            case End():
                self.close()
                self._send(End())

    def close(self) -> None:
        links, self.links = self.links, {}
        for link in links.values():
            link.closed()

    def _receive_transfer(self, handle: int | None, transfer: Transfer, payload: bytes) -> None:
        link = self.links.get(handle or 0)
        if not isinstance(link, IncomingLink):
            return  # sent before the client saw the detach
        try:
            link.transfer(transfer, payload)
        except AmqpError as error:
            self.detach(link, error)

    def _receive_flow(self, flow: Flow) -> None:
        self._window = (flow.next_incoming_id or 0) + (flow.incoming_window or 0) - self._next_outgoing_id
        if flow.handle is None:
            self.pump()
        elif isinstance(link := self.links.get(flow.handle), OutgoingLink):
            link.flow(flow)
        if flow.echo:
            self.flow(Flow())

    def pump(self) -> None:
        for link in list(self.links.values()):
            if isinstance(link, OutgoingLink):
                link.pump()

    def flow(self, flow: Flow) -> None:
        """Send a flow; the session fills in its own fields."""
        self._send(
            replace(
                flow,
                next_incoming_id=self._next_incoming_id,
                incoming_window=_INCOMING_WINDOW,
                next_outgoing_id=self._next_outgoing_id,
                outgoing_window=_OUTGOING_WINDOW,
            )
        )

    def settle(self, delivery_id: int, state: Described) -> None:
        self._send(Disposition(True, delivery_id, delivery_id, True, state))

    def transfer(self, first: Transfer, message: bytes) -> bool:
        """Send a message in as many frames as needed; if there is no room now, send nothing and return False."""
        room = self._connection.max_frame_size - _TRANSFER_OVERHEAD
        parts = [message[at : at + room] for at in range(0, len(message), room)]
        if not self._connection.writable or len(parts) > self._window:
            return False
        first.delivery_id = self._next_delivery_id
        self._next_delivery_id += 1
        self._next_outgoing_id += len(parts)
        self._window -= len(parts)
        for number, part in enumerate(parts, 1):
            more = number < len(parts)
            self._send(replace(first, more=more) if number == 1 else Transfer(first.handle, more=more), part)
        return True

    def detach(self, link: Link, error: AmqpError) -> None:
        """End a link from this side."""
        if self.links.pop(link.handle, None):
            link.closed()
            self._send(Detach(link.handle, True, error_value(error.condition, error.description)))

    def expire_links(self) -> None:
        for link in list(self.links.values()):
            if isinstance(link, PublisherLink | ConsumerLink):
                reason = f"The link '{link.name}' is force detached. Details: IdleTimerExpired."
                self.detach(link, AmqpError("amqp:link:detach-forced", reason))

    def _receive_attach(self, attach: Attach) -> None:
        handle, broker_receives = attach.handle or 0, not attach.role
        reply = replace(attach, role=broker_receives, unsettled=None, desired_capabilities=None, properties=None)
        reply.offered_capabilities = None
        reply.initial_delivery_count = None if broker_receives else 0
        reply.max_message_size = None
        try:
            link = self._link(attach, handle)
        except AmqpError as error:
            # To refuse a link, attach it without termini, then detach it with the reason (part 2 §2.6.3).
            self._send(replace(reply, source=None, target=None))
            self._send(Detach(handle, True, error_value(error.condition, error.description)))
            return
        if isinstance(link, PublisherLink):
            reply.max_message_size = self.broker.max_message_size
        self.links[handle] = link
        self._send(reply)
        link.opened()

    def _link(self, attach: Attach, handle: int) -> Link:
        """Create the link that an attach requests. Raises AmqpError to refuse it."""
        name, source, target = attach.name or "", attach.source, attach.target
        path = path_of(source if attach.role else target)
        if path in (CBS, MANAGEMENT):
            if attach.role:
                return ReplyLink(self, name, handle, path, path_of(target))
            return RequestLink(self, name, handle, path, self._node(path))
        address = self._authorised(path)
        partition = None if address.partition is None else self.broker.hub.partition(address.partition)
        if not attach.role:
            return PublisherLink(self, name, handle, self.broker.max_message_size, partition)
        if partition is None or address.group is None or source is None:
            raise AmqpError("amqp:not-allowed", "Reading needs a partition and a consumer group.")
        epoch = (attach.properties or {}).get(_EPOCH)
        desired = attach.desired_capabilities
        link = ConsumerLink(
            self,
            name,
            handle,
            attach.snd_settle_mode != _UNSETTLED,
            partition,
            partition.position(filter_of(source)),
            epoch if isinstance(epoch, int) else None,
            desired == _METRIC or (isinstance(desired, Array) and _METRIC in desired.items),
        )
        partition.join(address.group, link)
        return link

    def _node(self, path: str) -> Node:
        connection, broker = self._connection, self.broker
        if path == CBS:
            return cbs(broker.key, connection.authorised_paths.add)
        return management(broker.hub, broker.key, connection.is_authorised)

    def _authorised(self, path: str) -> HubAddress:
        if not self._connection.is_authorised(path):
            raise AmqpError("amqp:unauthorized-access", f"Unauthorized access: no token covers '{path}'.")
        address = parse(path)
        if address is None or address.hub.lower() != self.broker.hub.name.lower():
            raise AmqpError("amqp:not-found", f"The messaging entity '{path}' could not be found.")
        return address
