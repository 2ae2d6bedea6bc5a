"""The stand-in for Event Hubs as the unmodified azure-eventhub clients see it, and its life as a process."""

import asyncio
import gc
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from azure.core.credentials import AccessToken
from azure.eventhub import EventData, EventHubConsumerClient, EventHubProducerClient, aio
from azure.eventhub._utils import get_last_enqueued_event_properties
from azure.eventhub.exceptions import AuthenticationError, ConnectError, EventHubError

from dev.event_hubs.process import BrokerProcess
from tests.dev.event_hubs_client import Wire, bodies, producer_of, receive, send_in_thread, until

# azure-eventhub leaves the sockets of broken connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    with BrokerProcess(tmp_path) as broker:
        yield broker
    gc.collect()


@pytest.fixture
def single(tmp_path: Path) -> Iterator[BrokerProcess]:
    """A hub of one partition: there a producer need not name it, which would cost it another connection."""
    with BrokerProcess(tmp_path, "--partitions", "1") as broker:
        yield broker
    gc.collect()


# Sending and receiving


def test_what_is_sent_is_received(broker: BrokerProcess) -> None:
    """The sync clients carry body, properties and partition key through, with the service's annotations."""
    event = EventData(b'{"n": 1}')
    event.content_type = "application/json"
    event.message_id = "id-1"
    event.properties = {"type": "completion", "schema_version": 1, "ratio": 0.5, "flag": True}
    with producer_of(broker) as producer:
        batch = producer.create_batch(partition_key="tenant-1")
        batch.add(event)
        producer.send_batch(batch)
    (stored,) = broker.events()
    received: list[EventData] = []
    consumer = EventHubConsumerClient.from_connection_string(
        broker.connection_string, "any group", load_balancing_interval=0.05
    )

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


def test_the_async_clients_work_too(single: BrokerProcess) -> None:
    """aio sends, and receives from a position; it is told of the last enqueued event when it asks."""

    async def both() -> list[EventData]:
        producer = aio.EventHubProducerClient.from_connection_string(single.connection_string)
        async with producer:
            await producer.send_batch([EventData("one"), EventData("two")])
        where = {"partition_id": "0", "starting_position": 0, "track_last_enqueued_event_properties": True}
        return await receive(single, 1, **where)

    (received,) = asyncio.run(both())
    assert (received.body_as_str(), received.sequence_number) == ("two", 1)
    last = get_last_enqueued_event_properties(received)
    assert last is not None
    assert (last["sequence_number"], last["offset"]) == (1, received.offset)


def test_a_key_keeps_its_partition_and_keyless_batches_take_turns(broker: BrokerProcess) -> None:
    """Events of one key share a partition in order; without a key the partitions fill in turn."""
    with producer_of(broker) as producer:
        for n in range(4):
            producer.send_batch([EventData(f"keyed {n}")], partition_key="k")
        assert len({event["partition"] for event in broker.events()}) == 1
        assert bodies(broker) == [f"keyed {n}" for n in range(4)]
        for _ in range(4):
            producer.send_batch([EventData("keyless")])
    partitions = [event["partition"] for event in broker.events() if event["body"] == "keyless"]
    assert partitions == ["0", "1", "2", "3"]


def test_a_sender_may_name_the_partition(broker: BrokerProcess) -> None:
    """What is sent to a partition is stored there, beside a partition key or not."""
    with producer_of(broker) as producer:
        producer.send_batch([EventData("there")], partition_id="2")
    assert [(event["partition"], event["body"]) for event in broker.events()] == [("2", "there")]


def test_a_batch_may_fill_the_link(single: BrokerProcess) -> None:
    """A batch up to the size that the link announces goes through in one piece, large events too."""
    sent = ["x" * 300_000, "y" * 300_000, "z" * 300_000]
    with producer_of(single) as producer:
        batch = producer.create_batch()
        assert batch.max_size_in_bytes == 1024 * 1024
        for body in sent:
            batch.add(EventData(body))
        with pytest.raises(ValueError, match="size limit"):
            batch.add(EventData("w" * 300_000))
        producer.send_batch(batch)
    received = asyncio.run(receive(single, 3, partition_id="0", starting_position="-1"))
    assert [event.body_as_str() for event in received] == sent


def test_a_larger_message_than_announced_is_refused(tmp_path: Path) -> None:
    """What exceeds the link's max-message-size is not stored, and its sender gets an error."""
    with BrokerProcess(tmp_path, "--max-message-size", "20000") as broker:
        with producer_of(broker, retry_total=0) as producer:
            assert producer.create_batch().max_size_in_bytes == 20000
            with pytest.raises(EventHubError):
                producer.send_event(EventData("x" * 30000))
            producer.send_event(EventData("x" * 10000))
        assert bodies(broker) == ["x" * 10000]


# Who may do what


def test_a_wrong_key_is_refused(broker: BrokerProcess) -> None:
    """A token signed with another key, or for another policy, is answered with 401."""
    for wrong in ("SharedAccessKey=wrong", "SharedAccessKeyName=other"):
        name = wrong.partition("=")[0] + "="
        parts = broker.connection_string.split(";")
        text = ";".join(wrong if part.startswith(name) else part for part in parts)
        producer = EventHubProducerClient.from_connection_string(text, retry_total=0, retry_backoff_factor=0.01)
        with producer, pytest.raises(AuthenticationError, match="Status code: 401"):
            producer.send_event(EventData("x"))
    assert bodies(broker) == []


def test_an_entra_token_is_accepted(broker: BrokerProcess) -> None:
    """A credential as azure-identity makes it works: its token is taken on trust."""

    class Credential:
        def get_token(self, *scopes: str, **_: object) -> AccessToken:
            assert scopes == ("https://eventhubs.azure.net//.default",)
            return AccessToken("ey.some.jwt", int(time.time()) + 3600)

    host = f"localhost:{broker.port}"
    with EventHubProducerClient(host, "records", Credential(), use_tls=False) as producer:
        producer.send_event(EventData("by token"))
    assert bodies(broker) == ["by token"]


def test_an_unknown_hub_is_not_found(broker: BrokerProcess) -> None:
    """A hub of another name is unknown, though the key would open it."""
    other = broker.connection_string.replace("EntityPath=records", "EntityPath=other")
    producer = EventHubProducerClient.from_connection_string(other, retry_total=0, retry_backoff_factor=0.01)
    with producer, pytest.raises(ConnectError, match="NotFound"):
        producer.send_event(EventData("x"))


def test_management_describes_hub_and_partitions(broker: BrokerProcess) -> None:
    """Properties of the hub, of an empty and of a filled partition are as the service gives them."""
    with producer_of(broker, retry_total=0) as producer:
        hub = producer.get_eventhub_properties()
        assert (hub["eventhub_name"], hub["partition_ids"]) == ("records", ["0", "1", "2", "3"])
        empty = producer.get_partition_properties("0")
        assert (empty["is_empty"], empty["last_enqueued_sequence_number"]) == (True, -1)
        producer.send_batch([EventData("a"), EventData("b")])
        filled = producer.get_partition_properties("0")
        last = broker.events()[-1]
        assert (filled["is_empty"], filled["beginning_sequence_number"]) == (False, 0)
        assert (filled["last_enqueued_sequence_number"], filled["last_enqueued_offset"]) == (1, last["offset"])
        with pytest.raises(ConnectError, match="404"):
            producer.get_partition_properties("99")


def test_a_higher_owner_level_steals_the_partition(single: BrokerProcess) -> None:
    """A reader with a higher owner level ends the other's link, and one with a lower level gets none."""

    async def lose(winner: Wire) -> Exception:
        attached, lost = asyncio.Event(), asyncio.Queue[Exception]()

        async def on_event(_: object, event: object) -> None:
            attached.set()

        async def on_error(_: object, error: Exception) -> None:
            await lost.put(error)

        client = aio.EventHubConsumerClient.from_connection_string(single.connection_string, "$Default", retry_total=0)
        where: dict[str, Any] = {"partition_id": "0", "starting_position": "-1", "owner_level": 1}
        async with client:
            reading = asyncio.create_task(client.receive(on_event, on_error=on_error, **where))
            await asyncio.wait_for(attached.wait(), 60)
            winner.read(epoch=2)
            error = await asyncio.wait_for(lost.get(), 60)
            reading.cancel()
        return error

    with producer_of(single) as producer:
        producer.send_event(EventData("x"))
    with Wire(single) as winner, Wire(single) as late:
        assert "New receiver with higher epoch of '2'" in str(asyncio.run(lose(winner)))
        late.read(epoch=1)
        assert late.refusal() == "amqp:link:stolen"


# Its life as a process


def test_events_survive_a_kill(tmp_path: Path) -> None:
    """What was stored is there after SIGKILL and a restart on the same directory, even unacknowledged."""
    with BrokerProcess(tmp_path) as first, producer_of(first, retry_total=0) as producer:
        producer.send_batch([EventData("acknowledged")], partition_key="k")
        first.set_faults(hold_acks=True)
        sending = send_in_thread(producer, "stored")
        until(lambda: first.stats()["acks_held"] == 1)
        before = first.events()
        first.kill()
        sending.join(60)
    with BrokerProcess(tmp_path) as second:
        assert second.events() == before
        with producer_of(second) as producer:
            producer.send_batch([EventData("later")], partition_key="k")
        assert sorted(map(str, bodies(second))) == ["acknowledged", "later", "stored"]
    gc.collect()


def test_sigterm_ends_it_cleanly(broker: BrokerProcess) -> None:
    """SIGTERM ends the broker with status 0 while clients are connected."""
    with Wire(broker):
        until(lambda: broker.stats()["connections"] == 1)
        assert broker.stop() == 0


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    """With --parent-pid the broker ends when that process does, even one that nobody has waited for."""
    parent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with BrokerProcess(tmp_path, "--parent-pid", str(parent.pid)) as broker:
        parent.kill()
        assert broker.process.wait(60) == 0
    parent.communicate()
