"""The stand-in for Event Hubs, frame by frame, for what azure-eventhub does not let one see; and its log on disk."""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from azure.eventhub import EventData
from hypothesis import given, settings
from hypothesis import strategies as st

from dev.event_hubs import amqp
from dev.event_hubs.log import PartitionLog
from dev.event_hubs.message import Enqueued
from dev.event_hubs.process import BrokerProcess
from tests.dev.event_hubs_client import Wire, producer_of

_BODIES = [f"{n}" * 2000 for n in range(5)]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """A hub of one partition with five events, each of its own batch. Tests only read."""
    with BrokerProcess(tmp_path_factory.mktemp("hub"), "--partitions", "1") as broker:
        with producer_of(broker) as producer:
            for body in _BODIES:
                producer.send_event(EventData(body))
        yield broker
    gc.collect()


def _body(payload: bytes) -> str:
    return payload[-2000:].decode()


def test_links_need_a_token(filled: BrokerProcess) -> None:
    """Without an authorised token a link is attached without termini and detached at once."""
    with Wire(filled, authorised=False) as wire:
        wire.read()
        assert wire.refusal() == "amqp:unauthorized-access"


@pytest.mark.parametrize(
    ("address", "condition"),
    [
        ("other", "amqp:not-found"),
        ("records/Nothing/0", "amqp:not-found"),
        ("records/Partitions/7", "com.microsoft:argument-out-of-range"),
    ],
)
def test_links_need_an_address_that_exists(filled: BrokerProcess, address: str, condition: str) -> None:
    """An unknown hub or partition is refused by the condition that the service gives."""
    with Wire(filled) as wire:
        wire.publish(address)
        assert wire.refusal() == condition


def test_a_selector_that_is_not_understood_is_refused(filled: BrokerProcess) -> None:
    """A reader with a strange selector is told so; it does not silently read from elsewhere."""
    with Wire(filled) as wire:
        wire.read("amqp.annotation.x-opt-colour = 'red'")
        assert wire.refusal() == "com.microsoft:argument-error"


@pytest.mark.parametrize("operator", [">", ">="])
@pytest.mark.parametrize("name", ["offset", "sequence_number", "enqueued_time"])
def test_reading_starts_where_the_selector_says(filled: BrokerProcess, name: str, operator: str) -> None:
    """A position is an offset, a sequence number or a time; > leaves out what stands there, >= does not."""
    order = [int(cast(str, event[name])) for event in filled.events()]
    at = order[2]
    expected = [body for body, n in zip(_BODIES, order, strict=True) if n > at or (n == at and operator == ">=")]
    with Wire(filled) as wire:
        wire.read(f"amqp.annotation.x-opt-{name.replace('_', '-')} {operator} '{at}'")
        wire.flow(handle=7, delivery_count=0, link_credit=100)
        assert [_body(wire.next(amqp.Transfer)[1]) for _ in expected] == expected


@pytest.mark.parametrize("value", ["'1'", "1"])
def test_a_position_may_stand_without_quotes(filled: BrokerProcess, value: str) -> None:
    """.NET's client writes the position as a number, the others as a text."""
    with Wire(filled) as wire:
        wire.read(f"amqp.annotation.x-opt-sequence-number > {value}")
        wire.flow(handle=7, delivery_count=0, link_credit=1)
        assert _body(wire.next(amqp.Transfer)[1]) == _BODIES[2]


def test_delivery_ids_count_deliveries(filled: BrokerProcess) -> None:
    """An event in several frames is one delivery: ids go up by one (AMQP 1.0 part 2 §2.5.6)."""
    with Wire(filled, max_frame_size=512) as wire:
        wire.read()
        wire.flow(handle=7, delivery_count=0, link_credit=3)
        ids, events = [], 0
        while events < 3:
            transfer, _ = wire.next(amqp.Transfer)
            ids += [] if transfer.delivery_id is None else [transfer.delivery_id]
            events += not transfer.more
        assert ids == [0, 1, 2]


def test_latest_means_from_now_on(tmp_path: Path) -> None:
    """A reader from @latest gets what is sent after it attached, as it comes."""
    with (
        BrokerProcess(tmp_path, "--partitions", "1") as broker,
        producer_of(broker) as producer,
        Wire(broker) as wire,
    ):
        producer.send_event(EventData("before"))
        wire.read("amqp.annotation.x-opt-offset > '@latest'")
        wire.flow(handle=7, delivery_count=0, link_credit=10)
        wire.next(amqp.Attach)
        producer.send_event(EventData("after"))
        assert wire.next(amqp.Transfer)[1].endswith(b"after")


def test_credit_is_honoured(filled: BrokerProcess) -> None:
    """No more events are sent than the reader gave credit for, and a drain uses up what is left of it."""
    with Wire(filled) as wire:
        wire.read()
        wire.next(amqp.Attach)
        wire.flow(handle=7, delivery_count=0, link_credit=3, echo=True)
        wire.next(amqp.Flow)
        wire.flow(handle=7, delivery_count=3, link_credit=9, drain=True)
        # Had a fourth event come before the echo, it would be missing here.
        assert [wire.next(amqp.Transfer)[0].delivery_id for _ in range(2)] == [3, 4]
        drained, _ = wire.next(amqp.Flow)
        assert (drained.delivery_count, drained.link_credit) == (12, 0)


def test_frames_stay_within_the_readers_size(filled: BrokerProcess) -> None:
    """An event larger than the reader's max-frame-size comes in several transfer frames."""
    with Wire(filled, max_frame_size=512) as wire:
        wire.read()
        wire.flow(handle=7, delivery_count=0, link_credit=1)
        parts = [wire.next(amqp.Transfer)]
        while parts[-1][0].more:
            parts.append(wire.next(amqp.Transfer))
    assert all(len(amqp.frame(0, transfer, payload)) <= 512 for transfer, payload in parts)
    assert _body(b"".join(payload for _, payload in parts)) == _BODIES[0]


def test_too_large_a_message_ends_its_link(filled: BrokerProcess) -> None:
    """A message past max-message-size is amqp:link:message-size-exceeded as soon as it is, not at its end."""
    with Wire(filled) as wire:
        wire.publish("records")
        attach, _ = wire.next(amqp.Attach)
        assert attach.max_message_size == 1024 * 1024
        for number in range(17):
            first = amqp.Transfer(1, 0, b"tag", 0, False) if number == 0 else amqp.Transfer(1)
            first.more = True
            wire.send(first, bytes(65000))
        detach, _ = wire.next(amqp.Detach)
        assert detach.error is not None
        assert "amqp:link:message-size-exceeded" in str(detach.error.value)


# The log


@settings(deadline=None)
@given(
    batches=st.lists(st.tuples(st.lists(st.binary(max_size=50), min_size=1), st.none() | st.text(max_size=5))),
    cut=st.integers(0, 80),
)
def test_a_log_opens_as_it_was_left(
    tmp_path_factory: pytest.TempPathFactory, batches: list[tuple[list[bytes], str | None]], cut: int
) -> None:
    """A log holds what was appended; cut anywhere it keeps the whole events before, and takes new ones after."""
    path = tmp_path_factory.mktemp("log") / "0.log"
    log = PartitionLog(path, clock=lambda: 1.5)
    for events, key in batches:
        log.append(events, key)
    stored = [log.read(n) for n in range(len(log))]
    assert [(event, place.partition_key) for place, event in stored] == [
        (event, key) for events, key in batches for event in events
    ]
    ends = [place.offset for place, _ in stored[1:]] + [path.stat().st_size] * bool(stored)
    log.close()
    left = path.read_bytes()[: max(0, path.stat().st_size - cut)]
    path.write_bytes(left)

    log = PartitionLog(path, clock=lambda: 0.5)
    kept = [log.read(n) for n in range(len(log))]
    assert kept == stored[: len(kept)]
    assert len(kept) == sum(end <= len(left) for end in ends)
    log.append([b"new"], None)
    place, event = log.read(len(kept))
    log.close()
    assert event == b"new"
    earlier: list[Enqueued] = [place for place, _ in kept]
    assert place.sequence_number == len(kept)
    assert all(place.offset > other.offset and place.milliseconds >= other.milliseconds for other in earlier)
