"""The stand-in for Event Hubs frame by frame, where azure-eventhub hides the details; and its log on disk."""

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
    """A hub of one partition with five events in five batches. Tests only read from it."""
    with BrokerProcess(tmp_path_factory.mktemp("hub"), "--partitions", "1") as broker:
        with producer_of(broker) as producer:
            for body in _BODIES:
                producer.send_event(EventData(body))
        yield broker
    gc.collect()


def _body(payload: bytes) -> str:
    return payload[-2000:].decode()


def test_links_need_a_token(filled: BrokerProcess) -> None:
    """Without a token a link is attached without termini and immediately detached."""
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
def test_links_need_an_existing_address(filled: BrokerProcess, address: str, condition: str) -> None:
    """An unknown hub or partition is refused with the service's condition."""
    with Wire(filled) as wire:
        wire.publish(address)
        assert wire.refusal() == condition


def test_an_unknown_selector_is_refused(filled: BrokerProcess) -> None:
    """A reader with an unknown selector gets an error and does not silently read from elsewhere."""
    with Wire(filled) as wire:
        wire.read("amqp.annotation.x-opt-colour = 'red'")
        assert wire.refusal() == "com.microsoft:argument-error"


@pytest.mark.parametrize("quote", ["'", ""])
@pytest.mark.parametrize("operator", [">", ">="])
@pytest.mark.parametrize("name", ["offset", "sequence_number", "enqueued_time"])
def test_reading_starts_where_the_selector_says(filled: BrokerProcess, name: str, operator: str, quote: str) -> None:
    """A position is an offset, a sequence number or a time; > excludes it, >= does not. .NET writes no quotes."""
    order = [int(cast(str, event[name])) for event in filled.events()]
    at = order[2]
    expected = [body for body, n in zip(_BODIES, order, strict=True) if n > at or (n == at and operator == ">=")]
    with Wire(filled) as wire:
        wire.read(f"amqp.annotation.x-opt-{name.replace('_', '-')} {operator} {quote}{at}{quote}")
        wire.flow(handle=7, delivery_count=0, link_credit=100)
        assert [_body(wire.next(amqp.Transfer)[1]) for _ in expected] == expected


def test_latest_starts_with_the_next_event(tmp_path: Path) -> None:
    """A reader from @latest gets the events sent after it attached."""
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


def test_a_reader_gets_no_more_than_its_credit(filled: BrokerProcess) -> None:
    """The broker sends no more events than the reader's credit, and a drain uses up the rest of it."""
    with Wire(filled) as wire:
        wire.read()
        wire.next(amqp.Attach)
        wire.flow(handle=7, delivery_count=0, link_credit=3, echo=True)
        wire.next(amqp.Flow)
        wire.flow(handle=7, delivery_count=3, link_credit=9, drain=True)
        # If a fourth event had come before the echo, it would be missing here.
        assert [wire.next(amqp.Transfer)[0].delivery_id for _ in range(2)] == [3, 4]
        drained, _ = wire.next(amqp.Flow)
        assert (drained.delivery_count, drained.link_credit) == (12, 0)


def test_a_large_event_is_one_delivery_in_several_frames(filled: BrokerProcess) -> None:
    """Frames stay within the reader's max-frame-size; delivery ids count deliveries (AMQP 1.0 part 2 §2.5.6)."""
    ids, events = [], [b""]
    with Wire(filled, max_frame_size=512) as wire:
        wire.read()
        wire.flow(handle=7, delivery_count=0, link_credit=3)
        while len(events) <= 3:
            transfer, payload = wire.next(amqp.Transfer)
            assert len(amqp.frame(0, transfer, payload)) <= 512
            ids += [] if transfer.delivery_id is None else [transfer.delivery_id]
            events[-1] += payload
            events += [] if transfer.more else [b""]
    assert ids == [0, 1, 2]
    assert [_body(event) for event in events[:3]] == _BODIES[:3]


def test_a_too_large_message_ends_its_link(filled: BrokerProcess) -> None:
    """A message ends its link with message-size-exceeded once it exceeds max-message-size, before its end."""
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
def test_a_log_reopens_with_its_whole_events(
    tmp_path_factory: pytest.TempPathFactory, batches: list[tuple[list[bytes], str | None]], cut: int
) -> None:
    """A log holds what was appended; truncated anywhere it keeps the whole events before, and accepts new ones."""
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
