"""The state shared by all connections: the hub, the key, active faults, counts, held acks."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from dev.event_hubs.amqp import accepted, rejected
from dev.event_hubs.amqp_values import AmqpError, Described
from dev.event_hubs.faults import Faults
from dev.event_hubs.hub import Hub, Partition
from dev.event_hubs.message import open_batch
from dev.event_hubs.token import SharedKey

_BUSY: Final = (
    "The request was terminated because the entity is being throttled. Error code : 50002. "
    "Please wait 4 seconds and try again."
)


class Peer(Protocol):
    """A connection, as far as faults are concerned."""

    def apply(self, faults: Faults) -> None:
        """Stop or resume reading and writing as the active faults require."""

    def expire(self, what: Literal["connection", "link"]) -> None:
        """Close as if idle for too long."""


@dataclass(slots=True)
class Counts:
    connections: int = 0
    transfers: int = 0
    accepted: int = 0
    rejected: int = 0


@dataclass(slots=True)
class Broker:
    hub: Hub
    key: SharedKey
    size_limit: int
    faults: Faults = field(default_factory=Faults)
    counts: Counts = field(default_factory=Counts)
    peers: set[Peer] = field(default_factory=set)
    _held: list[Callable[[], None]] = field(default_factory=list)

    @property
    def max_message_size(self) -> int:
        return self.size_limit if self.faults.max_message_size is None else self.faults.max_message_size

    def join(self, peer: Peer) -> None:
        self.counts.connections += 1
        self.peers.add(peer)
        peer.apply(self.faults)

    def drops_after(self, size: int) -> bool:
        """Count bytes of a transfer; return whether to reset the connection in the middle of it."""
        left = self.faults.drop_connection_after
        if left is None:
            return False
        self.faults.drop_connection_after = left - size if size <= left else None
        return size > left

    def ingest(
        self,
        message: bytes,
        message_format: int,
        partition: Partition | None,
        settle: Callable[[Described], None],
        drop: Callable[[], None],
    ) -> None:
        """Store the events of one transfer and settle it, or apply the active faults.

        Without a partition the partition key decides; without a key the partitions take turns.
        """
        self.counts.transfers += 1
        refusal = self._refusal()
        if refusal is None:
            try:
                events, key = open_batch(message, message_format)
                (partition or self.hub.route(key)).append(events, key)
            except AmqpError as error:
                refusal = rejected(error.condition, error.description)
        if refusal is not None:
            self.counts.rejected += 1
            settle(refusal)
        elif self.faults.triggers("lose_acks"):
            drop()
        elif self.faults.hold_acks:
            self._held.append(lambda: self._accept(settle))
        else:
            self._accept(settle)

    def _refusal(self) -> Described | None:
        if self.faults.triggers("busy"):
            return rejected("com.microsoft:server-busy", _BUSY)
        if self.faults.triggers("reject"):
            return rejected(
                self.faults.reject_condition, "The broker rejects this batch because of a fault set by the test."
            )
        return None

    def _accept(self, settle: Callable[[Described], None]) -> None:
        self.counts.accepted += 1
        settle(accepted())

    def set_faults(self, changes: dict[str, object]) -> None:
        """Change faults and apply them immediately. Raises ValueError like Faults.set."""
        self.faults.set(changes)
        self._apply()

    def clear_faults(self) -> None:
        self.faults = Faults()
        self._apply()

    def _apply(self) -> None:
        for peer in list(self.peers):
            peer.apply(self.faults)
        if self.faults.idle_close:
            what: Literal["connection", "link"] = "link" if self.faults.idle_close == "link" else "connection"
            self.faults.idle_close = False
            for peer in list(self.peers):
                peer.expire(what)
        if not self.faults.hold_acks:
            held, self._held = self._held, []
            for release in held:
                release()

    def stats(self) -> dict[str, object]:
        events = {partition.id: len(partition.log) for partition in self.hub.partitions.values()}
        return {
            "connections": len(self.peers),
            "connections_total": self.counts.connections,
            "transfers": self.counts.transfers,
            "accepted": self.counts.accepted,
            "rejected": self.counts.rejected,
            "acks_held": len(self._held),
            "events": events,
            "events_total": sum(events.values()),
            "faults": self.faults.active(),
        }
