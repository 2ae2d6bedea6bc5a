"""The stand-in for Event Hubs as unmodified azure-eventhub clients see it, and as a process."""

import asyncio
import gc
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from azure.core.credentials import AccessToken
from azure.eventhub import EventData, EventHubConsumerClient, EventHubProducerClient, aio
from azure.eventhub._utils import get_last_enqueued_event_properties
from azure.eventhub.exceptions import AuthenticationError, ConnectError, EventHubError

from dev.event_hubs.process import BrokerProcess
from tests.dev.event_hubs_client import LEAVES_SOCKETS, Wire, bodies, producer_of, receive, send_in_thread
from tests.kit.hub import wait_until

pytestmark = LEAVES_SOCKETS


# Sending and receiving


def test_sync_clients_send_and_receive(broker: BrokerProcess) -> None:
    """Body, properties and partition key arrive unchanged, with the service's annotations."""
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


def test_async_clients_send_and_receive(single: BrokerProcess) -> None:
    """aio sends, receives from a position, and gets the last enqueued event's properties on request."""

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


def test_events_are_routed_by_key_by_turn_or_by_partition_id(broker: BrokerProcess) -> None:
    """Events of one key share a partition, in order; without a key partitions take turns; a sender may name one."""
    with producer_of(broker) as producer:
        for n in range(4):
            producer.send_batch([EventData(f"keyed {n}")], partition_key="k")
        assert len({event["partition"] for event in broker.events()}) == 1
        assert bodies(broker) == [f"keyed {n}" for n in range(4)]
        for _ in range(4):
            producer.send_batch([EventData("keyless")])
        producer.send_batch([EventData("named")], partition_id="2")
    places = [(event["body"], event["partition"]) for event in broker.events()]
    assert [partition for body, partition in places if body == "keyless"] == ["0", "1", "2", "3"]
    assert ("named", "2") in places


def test_a_batch_may_fill_the_max_message_size(single: BrokerProcess) -> None:
    """A batch up to the size that the link announces is delivered whole, with large events."""
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


def test_a_message_larger_than_announced_is_refused(tmp_path: Path) -> None:
    """A message over --max-message-size is not stored, and its sender gets an error."""
    with BrokerProcess(tmp_path, "--max-message-size", "20000") as broker:
        with producer_of(broker, retry_total=0) as producer:
            assert producer.create_batch().max_size_in_bytes == 20000
            with pytest.raises(EventHubError):
                producer.send_event(EventData("x" * 30000))
            producer.send_event(EventData("x" * 10000))
        assert bodies(broker) == ["x" * 10000]


# Authorisation and properties


def test_a_wrong_key_is_refused(broker: BrokerProcess) -> None:
    """A token signed with another key, or for another policy, gets a 401."""
    for wrong in ("SharedAccessKey=wrong", "SharedAccessKeyName=other"):
        name = wrong.partition("=")[0] + "="
        parts = broker.connection_string.split(";")
        text = ";".join(wrong if part.startswith(name) else part for part in parts)
        producer = EventHubProducerClient.from_connection_string(text, retry_total=0, retry_backoff_factor=0.01)
        with producer, pytest.raises(AuthenticationError, match="Status code: 401"):
            producer.send_event(EventData("x"))
    assert bodies(broker) == []


def test_an_entra_token_is_accepted(broker: BrokerProcess) -> None:
    """A credential like those of azure-identity works; its token is not verified."""

    class Credential:
        def get_token(self, *scopes: str, **_: object) -> AccessToken:
            assert scopes == ("https://eventhubs.azure.net//.default",)
            return AccessToken("ey.some.jwt", int(time.time()) + 3600)

    host = f"localhost:{broker.port}"
    with EventHubProducerClient(host, "records", Credential(), use_tls=False) as producer:
        producer.send_event(EventData("by token"))
    assert bodies(broker) == ["by token"]


def test_management_describes_hub_and_partitions(broker: BrokerProcess) -> None:
    """The properties of the hub and of an empty and a filled partition match the service."""
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
    """A reader with a higher owner level ends the other's link, and a reader with a lower one is refused."""

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


# The process


def test_events_survive_a_kill(tmp_path: Path) -> None:
    """Stored events survive SIGKILL and a restart on the same directory, even unacknowledged ones."""
    with BrokerProcess(tmp_path) as first, producer_of(first, retry_total=0) as producer:
        producer.send_batch([EventData("acknowledged")], partition_key="k")
        first.set_faults(hold_acks=True)
        sending = send_in_thread(producer, "stored")
        wait_until(lambda: first.stats()["acks_held"] == 1)
        before = first.events()
        first.kill()
        sending.join(60)
    with BrokerProcess(tmp_path) as second:
        assert second.events() == before
        with producer_of(second) as producer:
            producer.send_batch([EventData("later")], partition_key="k")
        assert sorted(map(str, bodies(second))) == ["acknowledged", "later", "stored"]
    gc.collect()


def test_sigterm_stops_it_cleanly(broker: BrokerProcess) -> None:
    """On SIGTERM the broker exits with status 0, even with clients connected."""
    with Wire(broker):
        wait_until(lambda: broker.stats()["connections"] == 1)
        assert broker.stop() == 0


def test_it_exits_with_its_parent(tmp_path: Path) -> None:
    """With --parent-pid the broker exits when that process does, even if it stays a zombie."""
    parent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with BrokerProcess(tmp_path, "--parent-pid", str(parent.pid)) as broker:
        parent.kill()
        assert broker.process.wait(60) == 0
    parent.communicate()
