"""The stand-in for Event Hubs, as a process, through the unmodified azure-eventhub clients and through a bare socket."""

import asyncio
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from azure.core.credentials import AccessToken
from azure.eventhub import EventData, EventHubConsumerClient, EventHubProducerClient, aio
from azure.eventhub.exceptions import (
    AuthenticationError,
    ConnectError,
    ConnectionLostError,
    EventDataSendError,
    EventHubError,
)

from dev import amqp
from dev.amqp_values import Described, Symbol, ULong
from dev.event_hubs_process import BrokerProcess


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    with BrokerProcess(tmp_path) as broker:
        yield broker


def _producer(broker: BrokerProcess, **options: Any) -> EventHubProducerClient:
    return EventHubProducerClient.from_connection_string(broker.connection_string, **options)


def _bodies(broker: BrokerProcess) -> list[object]:
    return [event["body"] for event in broker.events()]


def _until(condition: Callable[[], bool]) -> None:
    """Poll until the condition holds; the deadline is only there to end a test that hangs."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.005)


def _send_in_thread(producer: EventHubProducerClient, body: str) -> threading.Thread:
    thread = threading.Thread(target=producer.send_event, args=(EventData(body),), daemon=True)
    thread.start()
    return thread


async def _receive(broker: BrokerProcess, count: int, **where: Any) -> list[EventData]:
    received: list[EventData] = []
    enough = asyncio.Event()

    async def on_batch(_: object, events: list[EventData]) -> None:
        received.extend(events)
        if len(received) >= count:
            enough.set()

    client = aio.EventHubConsumerClient.from_connection_string(broker.connection_string, "$Default")
    async with client:
        reading = asyncio.create_task(client.receive_batch(on_batch, **where))
        await asyncio.wait_for(enough.wait(), 30)
    await reading
    return received


# Sending and receiving


def test_what_is_sent_is_received(broker: BrokerProcess) -> None:
    """The sync clients carry body, properties and partition key through, with the service's annotations."""
    event = EventData(b'{"n": 1}')
    event.content_type = "application/json"
    event.message_id = "id-1"
    event.properties = {"type": "completion", "schema_version": 1, "ratio": 0.5, "flag": True}
    with _producer(broker) as producer:
        batch = producer.create_batch(partition_key="tenant-1")
        batch.add(event)
        producer.send_batch(batch)
    (stored,) = broker.events()
    received: list[EventData] = []
    consumer = EventHubConsumerClient.from_connection_string(broker.connection_string, "any group")

    def on_batch(_: object, events: list[EventData]) -> None:
        received.extend(events)
        consumer.close()

    consumer.receive_batch(on_batch, partition_id=cast(str, stored["partition"]), starting_position="-1")
    (found,) = received
    assert found.body_as_str() == '{"n": 1}'
    assert found.properties == {b"type": b"completion", b"schema_version": 1, b"ratio": 0.5, b"flag": True}
    assert (found.content_type, found.message_id) == ("application/json", "id-1")
    assert found.partition_key == b"tenant-1"
    assert (found.sequence_number, found.offset) == (0, stored["offset"])
    assert found.enqueued_time == datetime.fromtimestamp(cast(int, stored["enqueued_time"]) / 1000, UTC)


def test_the_async_clients_work_too(broker: BrokerProcess) -> None:
    """aio sends and receives, and is told of the last enqueued event when it asks."""

    async def both() -> list[EventData]:
        producer = aio.EventHubProducerClient.from_connection_string(broker.connection_string)
        async with producer:
            await producer.send_batch([EventData("one"), EventData("two")], partition_id="3")
        where = {"partition_id": "3", "starting_position": "-1", "track_last_enqueued_event_properties": True}
        return await _receive(broker, 2, **where)

    received = asyncio.run(both())
    assert [event.body_as_str() for event in received] == ["one", "two"]
    assert received[0]._message.delivery_annotations[b"last_enqueued_sequence_number"] == 1


def test_a_key_keeps_its_partition_and_keyless_batches_take_turns(broker: BrokerProcess) -> None:
    """Events of one key share a partition in order; without a key the partitions fill in turn."""
    with _producer(broker) as producer:
        for n in range(4):
            producer.send_batch([EventData(f"keyed {n}")], partition_key="k")
        assert len({event["partition"] for event in broker.events()}) == 1
        assert _bodies(broker) == [f"keyed {n}" for n in range(4)]
        for _ in range(4):
            producer.send_batch([EventData("keyless")])
    partitions = [event["partition"] for event in broker.events() if event["body"] == "keyless"]
    assert partitions == ["0", "1", "2", "3"]


def test_a_batch_may_fill_the_link(broker: BrokerProcess) -> None:
    """A batch up to the size that the link announces goes through in one piece, large events too."""
    with _producer(broker) as producer:
        batch = producer.create_batch(partition_id="0")
        assert batch.max_size_in_bytes == 1024 * 1024
        bodies = ["x" * 300_000, "y" * 300_000, "z" * 300_000]
        with pytest.raises(ValueError, match="size limit"):
            for body in [*bodies, "w" * 300_000]:
                batch.add(EventData(body))
        producer.send_batch(batch)
    received = asyncio.run(_receive(broker, 3, partition_id="0", starting_position="-1"))
    assert [event.body_as_str() for event in received] == bodies


def test_a_larger_message_than_announced_is_refused(tmp_path: Path) -> None:
    """What exceeds the link's max-message-size ends the link with its name and stores nothing."""
    with BrokerProcess(tmp_path, "--max-message-size", "20000") as broker:
        with _producer(broker, retry_total=0) as producer:
            assert producer.create_batch().max_size_in_bytes == 20000
            with pytest.raises(
                EventHubError, match=r"exceeds the limit|message-size-exceeded|Send failed|unknown"
            ):
                producer.send_event(EventData("x" * 30000))
            producer.send_event(EventData("x" * 10000))
        assert len(_bodies(broker)) == 1


# Who may do what


@pytest.mark.parametrize("key", ["SharedAccessKey=wrong", "SharedAccessKeyName=other"])
def test_a_wrong_key_is_refused(broker: BrokerProcess, key: str) -> None:
    """A token signed with another key, or for another policy, is answered with 401."""
    parts = broker.connection_string.split(";")
    name = key.partition("=")[0] + "="
    wrong = ";".join(key if part.startswith(name) else part for part in parts)
    producer = EventHubProducerClient.from_connection_string(wrong, retry_total=0)
    with producer, pytest.raises(AuthenticationError, match="401"):
        producer.send_event(EventData("x"))
    assert _bodies(broker) == []


def test_an_entra_token_is_accepted(broker: BrokerProcess) -> None:
    """A credential of azure-identity works: its token is taken on trust."""

    class Credential:
        def get_token(self, *scopes: str, **_: object) -> AccessToken:
            assert scopes == ("https://eventhubs.azure.net//.default",)
            return AccessToken("ey.some.jwt", int(time.time()) + 3600)

    host = f"localhost:{broker.port}"
    with EventHubProducerClient(host, "records", Credential(), use_tls=False) as producer:
        producer.send_event(EventData("by token"))
    assert _bodies(broker) == ["by token"]


def test_an_unknown_hub_is_not_found(broker: BrokerProcess) -> None:
    """A hub of another name is refused with amqp:not-found when the link is attached."""
    other = broker.connection_string.replace("EntityPath=records", "EntityPath=other")
    producer = EventHubProducerClient.from_connection_string(other, retry_total=0)
    with producer, pytest.raises(ConnectionLostError, match="could not be found"):
        producer.send_event(EventData("x"))


def test_management_describes_hub_and_partitions(broker: BrokerProcess) -> None:
    """Properties of the hub, of an empty and of a filled partition are as the service gives them."""
    with _producer(broker, retry_total=0) as producer:
        hub = producer.get_eventhub_properties()
        assert (hub["eventhub_name"], hub["partition_ids"]) == ("records", ["0", "1", "2", "3"])
        empty = producer.get_partition_properties("0")
        assert (empty["is_empty"], empty["last_enqueued_sequence_number"]) == (True, -1)
        producer.send_batch([EventData("a"), EventData("b")], partition_id="0")
        filled = producer.get_partition_properties("0")
        last = broker.events()[-1]
        assert (filled["is_empty"], filled["beginning_sequence_number"]) == (False, 0)
        assert (filled["last_enqueued_sequence_number"], filled["last_enqueued_offset"]) == (
            1,
            last["offset"],
        )
        with pytest.raises(ConnectError, match="404"):
            producer.get_partition_properties("99")


# Reading


@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("by", ["offset", "sequence_number", "enqueued_time"])
def test_reading_starts_where_the_selector_says(broker: BrokerProcess, by: str, inclusive: bool) -> None:
    """A position is an offset, a sequence number or a time; > leaves out what stands there, >= does not."""
    with _producer(broker) as producer:
        for n in range(5):
            producer.send_batch([EventData(f"{n}")], partition_id="0")
    stored = broker.events()
    order = [int(cast(str, event[by])) for event in stored]
    at = order[2]
    position = {
        "offset": str(at),
        "sequence_number": at,
        "enqueued_time": datetime.fromtimestamp(at / 1000, UTC),
    }
    expected = [
        event["body"] for event, n in zip(stored, order, strict=True) if n > at or (inclusive and n == at)
    ]
    received = asyncio.run(
        _receive(
            broker,
            len(expected),
            partition_id="0",
            starting_position=position[by],
            starting_position_inclusive=inclusive,
        )
    )
    assert [event.body_as_str() for event in received] == expected


def test_a_higher_owner_level_steals_the_partition(broker: BrokerProcess) -> None:
    """A reader with a higher owner level ends the other's link with amqp:link:stolen, and no lower one gets in."""

    async def contend() -> list[str]:
        attached, errors = asyncio.Event(), asyncio.Queue[Exception]()

        async def on_event(_: object, event: object) -> None:
            attached.set()

        async def on_error(_: object, error: Exception) -> None:
            await errors.put(error)

        def client() -> aio.EventHubConsumerClient:
            return aio.EventHubConsumerClient.from_connection_string(
                broker.connection_string, "$Default", retry_total=0
            )

        found = []
        async with client() as first, client() as second, client() as third:
            where: dict[str, Any] = {"partition_id": "0", "starting_position": "-1", "on_error": on_error}
            tasks = [asyncio.create_task(first.receive(on_event, owner_level=1, **where))]
            await asyncio.wait_for(attached.wait(), 30)
            attached.clear()
            tasks.append(asyncio.create_task(second.receive(on_event, owner_level=2, **where)))
            await asyncio.wait_for(attached.wait(), 30)
            found.append(str(await asyncio.wait_for(errors.get(), 30)))
            tasks.append(asyncio.create_task(third.receive(on_event, owner_level=1, **where)))
            found.append(str(await asyncio.wait_for(errors.get(), 30)))
        await asyncio.gather(*tasks)
        return found

    with _producer(broker) as producer:
        producer.send_batch([EventData("x")], partition_id="0")
    stolen, refused = asyncio.run(contend())
    assert "New receiver with higher epoch of '2'" in stolen
    assert "created with epoch of '2'" in refused


# A client of frames, for what the SDK does not let one see


class Wire:
    """An AMQP connection by hand; with `name` and `key` it authenticates by SASL PLAIN."""

    def __init__(
        self, broker: BrokerProcess, *, authorised: bool = True, max_frame_size: int = 65536
    ) -> None:
        self.socket = socket.create_connection(("127.0.0.1", broker.port), timeout=30)
        self._parser = amqp.FrameParser(65536)
        self._received: list[amqp.Frame | amqp.ProtocolHeader] = []
        if authorised:
            self.socket.sendall(amqp.SASL_HEADER)
            plain = b"\0RootManageSharedAccessKey\0SAS_KEY_VALUE"
            self.send(amqp.SaslInit(mechanism="PLAIN", initial_response=plain))
        self.socket.sendall(amqp.AMQP_HEADER)
        self.send(amqp.Open("test", max_frame_size=max_frame_size))
        self.send(amqp.Begin(next_outgoing_id=0, incoming_window=1000, outgoing_window=1000))

    def send(self, performative: amqp.Performative) -> None:
        self.socket.sendall(amqp.frame(0, performative))

    def next[T: amqp.Performative](self, kind: type[T]) -> tuple[T, bytes]:
        """The next frame of that kind; what comes before it is passed over."""
        while True:
            while self._received:
                item = self._received.pop(0)
                if isinstance(item, amqp.Frame) and isinstance(item.performative, kind):
                    return item.performative, item.payload
            data = self.socket.recv(65536)
            assert data, "the broker closed the connection"
            self._received.extend(self._parser.feed(data))

    def read_from(self, partition: str, selector: str = "amqp.annotation.x-opt-offset > '-1'") -> None:
        chosen = Described(Symbol("apache.org:selector-filter:string"), selector)
        address = f"records/ConsumerGroups/$Default/Partitions/{partition}"
        filters = {Symbol("apache.org:selector-filter:string"): chosen}
        source = Described(ULong(0x28), [address, None, None, None, None, None, None, filters])
        self.send(amqp.Attach("reader", 7, True, source=source, target=Described(ULong(0x29), ["here"])))

    def flow(self, **fields: Any) -> None:
        session = {
            "next_incoming_id": 0,
            "incoming_window": 1000,
            "next_outgoing_id": 0,
            "outgoing_window": 1000,
        }
        self.send(amqp.Flow(**session | fields))


def test_links_need_a_token(broker: BrokerProcess) -> None:
    """Without an authorised token a link is attached without its terminus and detached at once."""
    wire = Wire(broker, authorised=False)
    wire.read_from("0")
    attach, _ = wire.next(amqp.Attach)
    detach, _ = wire.next(amqp.Detach)
    wire.socket.close()
    assert attach.source is None
    assert detach.error is not None
    assert cast(list[object], detach.error.value)[0] == "amqp:unauthorized-access"


def test_credit_is_honoured(broker: BrokerProcess) -> None:
    """No more events are sent than the reader gave credit for, and a drain uses up what is left of it."""
    with _producer(broker) as producer:
        producer.send_batch([EventData(f"{n}") for n in range(5)], partition_id="0")
    wire = Wire(broker)
    wire.read_from("0")
    wire.next(amqp.Attach)
    wire.flow(handle=7, delivery_count=0, link_credit=3, echo=True)
    wire.next(amqp.Flow)
    wire.flow(handle=7, delivery_count=3, link_credit=9, drain=True)
    transfers = [wire.next(amqp.Transfer)[0].delivery_id for _ in range(2)]
    drained, _ = wire.next(amqp.Flow)
    wire.socket.close()
    assert transfers == [3, 4]
    assert (drained.delivery_count, drained.link_credit) == (12, 0)


def test_frames_stay_within_the_readers_size(broker: BrokerProcess) -> None:
    """An event larger than the reader's max-frame-size comes in several transfer frames."""
    with _producer(broker) as producer:
        producer.send_batch([EventData("x" * 2000)], partition_id="0")
    wire = Wire(broker, max_frame_size=512)
    wire.read_from("0")
    wire.flow(handle=7, delivery_count=0, link_credit=1)
    parts = [wire.next(amqp.Transfer)]
    while parts[-1][0].more:
        parts.append(wire.next(amqp.Transfer))
    wire.socket.close()
    assert len(parts) > 4
    assert all(len(payload) < 512 for _, payload in parts)
    assert b"x" * 2000 in b"".join(payload for _, payload in parts)


def test_latest_means_from_now_on(broker: BrokerProcess) -> None:
    """A reader from @latest gets what is sent after it attached, as it comes."""
    with _producer(broker) as producer:
        producer.send_batch([EventData("before")], partition_id="0")
        wire = Wire(broker)
        wire.read_from("0", "amqp.annotation.x-opt-offset > '@latest'")
        wire.flow(handle=7, delivery_count=0, link_credit=10)
        wire.next(amqp.Attach)
        producer.send_batch([EventData("after")], partition_id="0")
    _, payload = wire.next(amqp.Transfer)
    wire.socket.close()
    assert payload.endswith(b"after")


# Its life as a process


def test_events_survive_a_kill(tmp_path: Path) -> None:
    """What was stored is there after SIGKILL and a restart on the same directory, even unacknowledged."""
    with BrokerProcess(tmp_path) as first, _producer(first, retry_total=0) as producer:
        producer.send_batch([EventData("acknowledged")], partition_key="k")
        first.set_faults(hold_acks=True)
        _send_in_thread(producer, "stored")
        _until(lambda: first.stats()["acks_held"] == 1)
        before = first.events()
        first.kill()
    with BrokerProcess(tmp_path) as second:
        assert second.events() == before
        with _producer(second) as producer:
            producer.send_batch([EventData("later")], partition_key="k")
        assert sorted(map(str, _bodies(second))) == ["acknowledged", "later", "stored"]


def test_a_torn_event_is_cut_off(tmp_path: Path) -> None:
    """A file that ends in the middle of an event keeps the whole ones, and takes new ones after them."""
    with BrokerProcess(tmp_path) as broker, _producer(broker) as producer:
        producer.send_batch([EventData("whole"), EventData("torn")], partition_id="0")
    log = tmp_path / "records-0.log"
    log.write_bytes(log.read_bytes()[:-1])
    with BrokerProcess(tmp_path) as broker, _producer(broker) as producer:
        producer.send_batch([EventData("new")], partition_id="0")
        assert _bodies(broker) == ["whole", "new"]


def test_sigterm_ends_it_cleanly(broker: BrokerProcess) -> None:
    """SIGTERM ends the broker with status 0 while clients are connected."""
    with _producer(broker, retry_total=0) as producer:
        producer.send_event(EventData("x"))
        assert broker.stop() == 0


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    """With --parent-pid the broker ends when that process does, even one that nobody has waited for."""
    parent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    broker = BrokerProcess(tmp_path, "--parent-pid", str(parent.pid))
    parent.send_signal(signal.SIGKILL)
    assert broker.process.wait(30) == 0
    broker.stop()
    parent.communicate()


# Faults


def test_a_busy_hub_rejects_so_many_batches(broker: BrokerProcess) -> None:
    """`busy: 3` rejects three batches as throttling does, error 50002, and then takes the next."""
    with _producer(broker, retry_total=0) as producer:
        broker.set_faults(busy=3)
        for _ in range(3):
            with pytest.raises(EventDataSendError, match=r"server-busy(.|\n)*50002"):
                producer.send_event(EventData("refused"))
        producer.send_event(EventData("taken"))
    assert _bodies(broker) == ["taken"]
    assert broker.stats()["faults"] == {}


def test_rejections_last_until_cleared(broker: BrokerProcess) -> None:
    """`reject: true` rejects every batch with the chosen condition until the faults are cleared."""
    with _producer(broker, retry_total=0) as producer:
        broker.set_faults(reject=True, reject_condition="com.microsoft:argument-error")
        for _ in range(2):
            with pytest.raises(EventDataSendError, match="argument-error"):
                producer.send_event(EventData("refused"))
        broker.clear_faults()
        producer.send_event(EventData("taken"))
    assert _bodies(broker) == ["taken"]


def test_held_acks_come_when_released(broker: BrokerProcess) -> None:
    """`hold_acks` stores the batch and keeps the sender waiting until the fault is cleared."""
    with _producer(broker) as producer:
        broker.set_faults(hold_acks=True)
        sending = _send_in_thread(producer, "held")
        _until(lambda: broker.stats()["acks_held"] == 1)
        assert _bodies(broker) == ["held"]
        assert sending.is_alive()
        broker.clear_faults()
        sending.join(30)
        assert not sending.is_alive()
    assert broker.stats()["transfers"] == 1


def test_a_lost_ack_makes_copies(broker: BrokerProcess) -> None:
    """`lose_acks: 1` stores the batch and breaks the connection; the client's retry stores it again."""
    with _producer(broker) as producer:
        broker.set_faults(lose_acks=1)
        producer.send_event(EventData("twice"))
    assert len(_bodies(broker)) >= 2
    assert set(_bodies(broker)) == {"twice"}


def test_a_connection_dropped_in_a_transfer_stores_nothing_of_it(broker: BrokerProcess) -> None:
    """`drop_connection_after` resets the connection within a batch; the retry stores it once, whole."""
    with _producer(broker) as producer:
        broker.set_faults(drop_connection_after=150_000)
        producer.send_batch([EventData(f"{n}" * 1000) for n in range(300)], partition_id="0")
    assert _bodies(broker) == [f"{n}" * 1000 for n in range(300)]
    stats = broker.stats()
    assert (stats["connections_total"], stats["transfers"], stats["faults"]) == (2, 1, {})


def test_a_silent_open_gets_no_answer(broker: BrokerProcess) -> None:
    """`silent_open` accepts a connection and says nothing until cleared; older connections go on."""
    with _producer(broker) as producer:
        producer.send_event(EventData("before"))
        broker.set_faults(silent_open=True)
        wire = Wire(broker)
        _until(lambda: broker.stats()["connections"] == 2)
        producer.send_event(EventData("during"))
        wire.socket.settimeout(0)
        with pytest.raises(BlockingIOError):
            wire.socket.recv(1)
        broker.clear_faults()
        wire.socket.settimeout(30)
        wire.next(amqp.Begin)
        wire.socket.close()
    assert sorted(map(str, _bodies(broker))) == ["before", "during"]


def test_a_frozen_broker_thaws(broker: BrokerProcess) -> None:
    """`frozen` reads and writes nothing on connections old and new; cleared, what was sent meanwhile arrives."""
    with _producer(broker) as producer:
        producer.send_event(EventData("before"))
        broker.set_faults(frozen=True)
        sending = _send_in_thread(producer, "during")
        wire = Wire(broker)
        _until(lambda: broker.stats()["connections"] == 2)
        assert broker.stats()["transfers"] == 1
        assert sending.is_alive()
        broker.clear_faults()
        sending.join(30)
        assert not sending.is_alive()
        wire.next(amqp.Begin)
        wire.socket.close()
    assert sorted(map(str, _bodies(broker))) == ["before", "during"]


@pytest.mark.parametrize(("what", "connections"), [("connection", 2), ("link", 1)])
def test_idle_clients_are_closed_and_come_back(broker: BrokerProcess, what: str, connections: int) -> None:
    """`idle_close` ends connections (amqp:connection:forced) or links (detach-forced); the client reopens."""
    with _producer(broker) as producer:
        producer.send_event(EventData("before"))
        broker.set_faults(idle_close=what)
        producer.send_event(EventData("after"))
    assert sorted(map(str, _bodies(broker))) == ["after", "before"]
    assert broker.stats()["connections_total"] == connections


def test_the_size_limit_can_change(broker: BrokerProcess) -> None:
    """`max_message_size` is what new links announce, until cleared."""
    broker.set_faults(max_message_size=12345)
    with _producer(broker) as producer:
        assert producer.create_batch().max_size_in_bytes == 12345
    broker.clear_faults()
    with _producer(broker) as producer:
        assert producer.create_batch().max_size_in_bytes == 1024 * 1024


@pytest.mark.parametrize("faults", [{"bussy": 1}, {"busy": -1}, {"busy": "3"}, {"idle_close": "both"}])
def test_an_unknown_fault_is_an_error(broker: BrokerProcess, faults: dict[str, object]) -> None:
    """A misspelt fault or a wrong value is refused by name, so that no test passes for want of its fault."""
    with pytest.raises(ValueError, match=next(iter(faults))):
        broker.set_faults(frozen=True, **faults)
    assert broker.stats()["faults"] == {}
