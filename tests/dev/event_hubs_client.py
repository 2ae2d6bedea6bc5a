"""What the tests of the stand-in for Event Hubs share: azure-eventhub in short, and a client of bare frames."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self, cast

from azure.eventhub import EventData, EventHubProducerClient, aio
from azure.eventhub.exceptions import EventHubError

from dev.event_hubs import amqp
from dev.event_hubs.amqp_values import Described, Symbol, ULong
from dev.event_hubs.process import BrokerProcess

_SELECTOR = Symbol("apache.org:selector-filter:string")


def producer_of(broker: BrokerProcess, **options: Any) -> EventHubProducerClient:
    return EventHubProducerClient.from_connection_string(broker.connection_string, retry_backoff_factor=0.01, **options)


def bodies(broker: BrokerProcess) -> list[object]:
    return [event["body"] for event in broker.events()]


def until(condition: Callable[[], bool]) -> None:
    """Poll until the condition holds; the deadline is only there to end a test that hangs."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.005)


def send_in_thread(producer: EventHubProducerClient, body: str) -> threading.Thread:
    def send() -> None:
        with suppress(EventHubError):
            producer.send_event(EventData(body))

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    return thread


async def receive(broker: BrokerProcess, count: int, **where: Any) -> list[EventData]:
    """Read with the aio client until so many events have come."""
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
        # Left alone it would sleep until the next load balancing, 30 s, before it ends.
        reading.cancel()
    return received


class Wire:
    """An AMQP connection by hand, with one session on channel 0; SASL PLAIN opens the whole namespace to it."""

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
        """The next frame of that kind and its payload; what comes before it is passed over."""
        while True:
            while self._received:
                item = self._received.pop(0)
                if isinstance(item, amqp.Frame) and isinstance(item.performative, kind):
                    return item.performative, item.payload
            data = self.socket.recv(65536)
            assert data, "the broker closed the connection"
            self._received.extend(self._parser.feed(data))

    def refusal(self) -> object:
        """The condition with which the link just asked for is refused."""
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
