"""The faults of the stand-in for Event Hubs: each affects azure-eventhub as described, until cleared."""

import pytest
from azure.eventhub import EventData
from azure.eventhub.exceptions import EventDataSendError

from dev.event_hubs import amqp
from dev.event_hubs.process import BrokerProcess
from tests.dev.event_hubs_client import LEAVES_SOCKETS, Wire, bodies, condition, producer_of, send_in_thread
from tests.kit.hub import wait_until

pytestmark = LEAVES_SOCKETS


@pytest.fixture
def broker(single: BrokerProcess) -> BrokerProcess:
    return single


def test_a_busy_hub_rejects_a_number_of_batches(broker: BrokerProcess) -> None:
    """`busy: 5` rejects five batches like throttling, with error 50002, and then accepts the next."""
    refusals: list[str] = []
    with producer_of(broker, retry_total=0) as producer:
        broker.set_faults(busy=5)
        while not bodies(broker):
            try:
                producer.send_event(EventData("taken"))
            except EventDataSendError as error:
                refusals.append(str(error))
    stats = broker.stats()
    assert (stats["rejected"], stats["accepted"], stats["faults"]) == (5, 1, {})
    # azure-eventhub tries twice per send.
    assert len(refusals) == 2
    assert all("com.microsoft:server-busy" in text and "50002" in text for text in refusals)


def test_rejections_last_until_cleared(broker: BrokerProcess) -> None:
    """`reject: true` rejects every batch with the chosen condition until the faults are cleared."""
    with producer_of(broker, retry_total=0) as producer:
        broker.set_faults(reject=True, reject_condition="com.microsoft:argument-error")
        for _ in range(2):
            with pytest.raises(EventDataSendError, match="argument-error"):
                producer.send_event(EventData("refused"))
        broker.clear_faults()
        producer.send_event(EventData("taken"))
    assert bodies(broker) == ["taken"]


def test_held_acks_are_sent_when_cleared(broker: BrokerProcess) -> None:
    """`hold_acks` stores the batch and keeps the sender waiting until the fault is cleared."""
    with producer_of(broker) as producer:
        broker.set_faults(hold_acks=True)
        sending = send_in_thread(producer, "held")
        wait_until(lambda: broker.stats()["acks_held"] == 1)
        assert bodies(broker) == ["held"]
        assert sending.is_alive()
        broker.clear_faults()
        sending.join(60)
        assert not sending.is_alive()
    assert broker.stats()["transfers"] == 1


def test_a_lost_ack_causes_duplicates(broker: BrokerProcess) -> None:
    """`lose_acks: 1` stores the batch and resets the connection; the client's retry stores it again."""
    with producer_of(broker) as producer:
        broker.set_faults(lose_acks=1)
        producer.send_event(EventData("twice"))
    assert len(bodies(broker)) >= 2
    assert set(bodies(broker)) == {"twice"}


def test_a_batch_is_not_stored_if_its_transfer_is_cut(broker: BrokerProcess) -> None:
    """`drop_connection_after` resets the connection within a batch; the retry stores it once, whole."""
    with producer_of(broker) as producer:
        broker.set_faults(drop_connection_after=150_000)
        producer.send_batch([EventData(f"{n}" * 1000) for n in range(300)])
    assert bodies(broker) == [f"{n}" * 1000 for n in range(300)]
    assert (broker.stats()["transfers"], broker.stats()["faults"]) == (1, {})


def test_a_silent_open_gets_no_response(broker: BrokerProcess) -> None:
    """`silent_open` accepts a connection but sends nothing until cleared; older connections work."""
    with producer_of(broker) as producer:
        producer.send_event(EventData("before"))
        open_before = broker.stats()["connections"]
        broker.set_faults(silent_open=True)
        with Wire(broker) as wire:
            wait_until(lambda: broker.stats()["connections"] != open_before)
            producer.send_event(EventData("during"))
            wire.socket.settimeout(0)
            with pytest.raises(BlockingIOError):
                wire.socket.recv(1)
            broker.clear_faults()
            wire.socket.settimeout(60)
            wire.next(amqp.Begin)
    assert bodies(broker) == ["before", "during"]


def test_a_frozen_broker_resumes(broker: BrokerProcess) -> None:
    """`frozen` stops reads and writes on all connections; when cleared, what was sent meanwhile arrives."""
    with producer_of(broker) as producer:
        producer.send_event(EventData("before"))
        open_before = broker.stats()["connections"]
        broker.set_faults(frozen=True)
        sending = send_in_thread(producer, "during")
        with Wire(broker) as wire:
            wait_until(lambda: broker.stats()["connections"] != open_before)
            assert broker.stats()["transfers"] == 1
            assert sending.is_alive()
            broker.clear_faults()
            sending.join(60)
            assert not sending.is_alive()
            wire.next(amqp.Begin)
    assert bodies(broker) == ["before", "during"]


@pytest.mark.parametrize(
    ("what", "ending", "named"),
    [("connection", amqp.Close, "amqp:connection:forced"), ("link", amqp.Detach, "amqp:link:detach-forced")],
)
def test_idle_clients_are_closed_and_reconnect(
    broker: BrokerProcess, what: str, ending: type[amqp.Close | amqp.Detach], named: str
) -> None:
    """`idle_close` closes connections or links with the service's condition; the client opens new ones."""
    with producer_of(broker) as producer, Wire(broker) as wire:
        wire.read()
        wire.next(amqp.Attach)
        producer.send_event(EventData("before"))
        broker.set_faults(idle_close=what)
        assert condition(wire.next(ending)[0].error) == named
        producer.send_event(EventData("after"))
    assert bodies(broker) == ["before", "after"]


def test_the_max_message_size_can_change(broker: BrokerProcess) -> None:
    """`max_message_size` is what new links announce, until cleared."""
    broker.set_faults(max_message_size=12345)
    for expected in (12345, 1024 * 1024):
        with Wire(broker) as wire:
            wire.publish("records")
            assert wire.next(amqp.Attach)[0].max_message_size == expected
        broker.clear_faults()


def test_an_unknown_fault_is_refused(broker: BrokerProcess) -> None:
    """A misspelt fault or a wrong value is refused by name, so that no test passes without its fault."""
    for name, value in {"bussy": 1, "busy": -1, "lose_acks": "3", "idle_close": "both"}.items():
        with pytest.raises(ValueError, match=name):
            broker.set_faults(frozen=True, **{name: value})
    assert broker.stats()["faults"] == {}
