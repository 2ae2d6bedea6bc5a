"""Shared by the tests of the stand-in for Event Hubs: shortcuts for azure-eventhub, and a client of raw frames."""

import asyncio
import socket
import threading
from contextlib import suppress
from typing import Any, Self, cast

import pytest
from azure.eventhub import EventData, EventHubProducerClient, aio
from azure.eventhub.exceptions import EventHubError

from dev.event_hubs import amqp
from dev.event_hubs.amqp_values import Described, Symbol, ULong
from dev.event_hubs.process import BrokerProcess

# azure-eventhub leaves the sockets of broken connections to the garbage collector.
LEAVES_SOCKETS = pytest.mark.filterwarnings(
    "ignore:unclosed:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
_SELECTOR = Symbol("apache.org:selector-filter:string")


def producer_of(broker: BrokerProcess, **options: Any) -> EventHubProducerClient:
    return EventHubProducerClient.from_connection_string(broker.connection_string, retry_backoff_factor=0.01, **options)


def bodies(broker: BrokerProcess) -> list[object]:
    return [event["body"] for event in broker.events()]


def send_in_thread(producer: EventHubProducerClient, body: str) -> threading.Thread:
    def send() -> None:
        with suppress(EventHubError):
            producer.send_event(EventData(body))

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    return thread


async def receive(broker: BrokerProcess, count: int, **where: Any) -> list[EventData]:
    """Read with the aio client until `count` events have arrived."""
    received: list[EventData] = []
    enough = asyncio.Event()

    async def on_batch(_: object, events: list[EventData]) -> None:
        received.extend(events)
        if len(received) >= count:
            enough.set()

    client = aio.EventHubConsumerClient.from_connection_string(broker.connection_string, "$Default")
    async with client:
        reading = asyncio.create_task(client.receive_batch(on_batch, **where))
        await asyncio.wait_for(enough.wait(), 60)
        # Without this it sleeps until the next load balancing, up to 30 s, before it ends.
        reading.cancel()
    return received


class Wire:
    """A raw AMQP connection with one session on channel 0; SASL PLAIN authorises it for the whole namespace."""

    def __init__(self, broker: BrokerProcess, *, authorised: bool = True, max_frame_size: int = 65536) -> None:
        self.socket = socket.create_connection(("127.0.0.1", broker.port), timeout=60)
        self._parser = amqp.FrameParser(65536)
        self._received: list[amqp.Frame | amqp.ProtocolHeader] = []
        if authorised:
            self.socket.sendall(amqp.SASL_HEADER)
            plain = b"\0RootManageSharedAccessKey\0SAS_KEY_VALUE"
            self.send(amqp.SaslInit(mechanism="PLAIN", initial_response=plain))
        self.socket.sendall(amqp.AMQP_HEADER)
        self.send(amqp.Open("test", max_frame_size=max_frame_size))
        self.send(amqp.Begin(next_outgoing_id=0, incoming_window=1000, outgoing_window=1000))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, performative: amqp.Performative, payload: bytes = b"") -> None:
        self.socket.sendall(amqp.frame(0, performative, payload))

    def next[T: amqp.Performative](self, kind: type[T]) -> tuple[T, bytes]:
        """Return the next frame of that kind and its payload; earlier frames are skipped."""
        while True:
            while self._received:
                item = self._received.pop(0)
                if isinstance(item, amqp.Frame) and isinstance(item.performative, kind):
                    return item.performative, item.payload
            data = self.socket.recv(65536)
            assert data, "the broker closed the connection"
            self._received.extend(self._parser.feed(data))

    def refusal(self) -> object:
        """Return the condition with which the requested link is refused."""
        attach, _ = self.next(amqp.Attach)
        detach, _ = self.next(amqp.Detach)
        assert (attach.source, attach.target) == (None, None), "a refused link has no terminus"
        return condition(detach.error)

    def read(self, selector: str = "amqp.annotation.x-opt-offset > '-1'", epoch: int | None = None) -> None:
        """Attach a reader of partition 0, with handle 7."""
        address = "records/ConsumerGroups/$Default/Partitions/0"
        filters = {_SELECTOR: Described(_SELECTOR, selector)}
        source = Described(ULong(0x28), [address, None, None, None, None, None, None, filters])
        attach = amqp.Attach("reader", 7, True, source=source, target=Described(ULong(0x29), ["here"]))
        attach.properties = None if epoch is None else {Symbol("com.microsoft:epoch"): epoch}
        self.send(attach)

    def publish(self, address: str) -> None:
        """Attach a sender to that address, with handle 1."""
        self.send(amqp.Attach("sender", 1, False, target=Described(ULong(0x29), [address])))

    def flow(self, **fields: Any) -> None:
        session = {"next_incoming_id": 0, "incoming_window": 1000, "next_outgoing_id": 0, "outgoing_window": 1000}
        self.send(amqp.Flow(**session | fields))


def condition(error: Described | None) -> object:
    assert error is not None
    return cast(list[object], error.value)[0]
