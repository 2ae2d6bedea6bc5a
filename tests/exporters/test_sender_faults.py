"""The sender against a real broker that fails in every way it can: all records arrive in order."""

import signal
from collections.abc import Callable
from dataclasses import replace

import pytest

from exporters.pace import Pace
from tests.exporters.conftest import StartPipeline
from tests.exporters.owner import open_files, segments
from tests.exporters.sending import (
    CLIENT_LEAVES_SOCKETS,
    FAST,
    IMPATIENT,
    Recorded,
    RestartableHub,
    number_of,
    record_line,
)
from tests.kit.hub import wait_until

pytestmark = CLIENT_LEAVES_SOCKETS

type Fault = Callable[[RestartableHub], None]


def setting(**faults: object) -> Fault:
    return lambda hub: hub.broker.set_faults(**faults)


def clearing(hub: RestartableHub) -> None:
    hub.broker.clear_faults()


def killing(hub: RestartableHub) -> None:
    hub.kill()


def restarting(*options: str) -> Fault:
    return lambda hub: hub.restart(*options)


LASTING: dict[str, tuple[Fault, Fault, Pace]] = {
    "killed": (killing, restarting(), FAST),
    "rejecting": (setting(reject=True), clearing, FAST),
    "acks held": (setting(hold_acks=True), clearing, IMPATIENT),
    "frozen": (setting(frozen=True), clearing, IMPATIENT),
    "silent at connect": (setting(silent_open=True, idle_close="connection"), clearing, IMPATIENT),
    "wrong key": (restarting("--key", "another"), restarting(), FAST),
    "hub missing": (restarting("--hub", "another"), restarting(), FAST),
}


@pytest.mark.parametrize("fault", LASTING)
def test_all_arrive_once_the_fault_is_over(own_hub: RestartableHub, pipeline: StartPipeline, fault: str) -> None:
    """Appends go on while the hub fails, and every record arrives, in order, once it works again."""
    begin, end, pace = LASTING[fault]
    running = pipeline(pace)
    running.append(5)
    running.wait_sent()
    begin(own_hub)
    # an append that waited for the hub would never return here: the fault ends only after all of them
    for _ in range(3):
        running.append(20)
    wait_until(lambda: running.failures >= 2)
    running.append(5)
    end(own_hub)
    running.wait_sent()
    assert own_hub.numbers() == list(range(70))
    assert running.losses.by_reason() == {}


PASSING: dict[str, dict[str, object]] = {
    "connection closed as idle": {"idle_close": "connection"},
    "link closed as idle": {"idle_close": "link"},
    "connection reset in the middle of a batch": {"drop_connection_after": 20_000},
}


@pytest.mark.parametrize("fault", PASSING)
def test_a_broken_connection_is_replaced(own_hub: RestartableHub, pipeline: StartPipeline, fault: str) -> None:
    """A connection that breaks loses and duplicates nothing: its records are sent on the next."""
    running = pipeline()
    running.append(5)
    running.wait_sent()
    own_hub.broker.set_faults(**PASSING[fault])
    running.append(40, content="." * 1000)
    running.wait_sent()
    assert own_hub.numbers() == list(range(45))
    assert own_hub.duplicates() == 0


def test_a_lost_acknowledgement_makes_duplicates_with_the_same_ids(
    own_hub: RestartableHub, pipeline: StartPipeline
) -> None:
    """What the hub has stored but not acknowledged is sent again, with the same ids and in order."""
    running = pipeline()
    own_hub.broker.set_faults(lose_acks=3)
    for _ in range(3):
        running.append(10)
    running.wait_sent()
    assert own_hub.numbers() == list(range(30))
    assert own_hub.duplicates() > 0


def test_a_hub_frozen_within_a_segment_gets_the_rest(own_hub: RestartableHub, pipeline: StartPipeline) -> None:
    """A hub that is stopped between the batches of a large segment gets the rest later; acknowledged records are not
    sent again."""
    running = pipeline(IMPATIENT, started=False)
    running.append(900, content="." * 900)
    running.sender.start()
    wait_until(lambda: running.sender.sent > 0)
    own_hub.broker.process.send_signal(signal.SIGSTOP)
    acknowledged = running.sender.sent
    wait_until(lambda: running.failures >= 1 or not running.spool.backlog().records)
    own_hub.broker.process.send_signal(signal.SIGCONT)
    running.wait_sent()
    assert own_hub.numbers() == list(range(900))
    arrived = [number_of(record) for record in own_hub.records()]
    # before that, a slow machine may have run into the timeout and got duplicates
    later = arrived[arrived.index(acknowledged) :] if acknowledged < 900 else []
    assert all(number >= acknowledged for number in later)


def test_waiting_records_are_synced_and_keep_no_files_open(own_hub: RestartableHub, pipeline: StartPipeline) -> None:
    """While the hub is down, records are synced to disk, in few segments, of which none is kept open."""
    running = pipeline(replace(FAST, sync_every=0.05))
    own_hub.kill()
    for _ in range(50):
        running.append(1)
    wait_until(lambda: running.failures >= 1 and open_files(running.directory) == [])
    failures = running.failures
    for number in range(50, 80):
        assert running.spool.append(record_line(number))
    wait_until(lambda: running.failures >= failures + 5)
    assert len(segments(running.directory)) == 51
    own_hub.restart()
    running.wait_sent()
    assert own_hub.numbers() == list(range(80))


def test_a_busy_hub_gets_a_pause_of_four_seconds(own_hub: RestartableHub, pipeline: StartPipeline) -> None:
    """After ServerBusy the sender pauses at least the 4 s that the service asks for, and little more at first."""
    pace = Recorded()
    running = pipeline(pace)
    own_hub.broker.set_faults(busy=6)
    running.append(10)
    running.wait_sent()
    assert len(pace.rests) == 3  # the client asks twice each time
    assert all(4.0 <= rest <= 5.0 for rest in pace.rests)
    assert own_hub.numbers() == list(range(10))
    assert own_hub.duplicates() == 0


def test_pauses_grow_while_the_hub_is_down(own_hub: RestartableHub, pipeline: StartPipeline) -> None:
    """Each consecutive failure is followed by a longer pause; a success resets it."""
    pace = Recorded()
    running = pipeline(pace)
    own_hub.kill()
    running.append(1)
    wait_until(lambda: len(pace.rests) >= 4)
    assert pace.rests[3] > 2 * pace.rests[0]
    own_hub.restart()
    running.wait_sent()
    own_hub.broker.set_faults(reject=2)
    failures = len(pace.rests)
    running.append(1)
    running.wait_sent()
    assert len(pace.rests) == failures + 1
    assert pace.rests[-1] <= pace.first_pause


def test_a_slow_hub_gets_a_longer_timeout(own_hub: RestartableHub, pipeline: StartPipeline) -> None:
    """A timeout is followed by a longer one: a slow hub must not get duplicates forever."""
    pace = Recorded(answer=0.3)
    running = pipeline(pace)
    own_hub.broker.set_faults(hold_acks=True)
    running.append(1)
    wait_until(lambda: len(pace.unanswered) >= 3)
    own_hub.broker.clear_faults()
    running.wait_sent()
    assert pace.unanswered[:3] == [0, 1, 2]
    own_hub.broker.set_faults(reject=2)
    running.append(1)
    running.wait_sent()
    assert 0 in pace.unanswered[3:]


@pytest.mark.parametrize(
    "condition", ["decode-error", "invalid-field", "not-implemented", "link:message-size-exceeded"]
)
def test_a_permanently_refused_record_does_not_stop_the_rest(
    own_hub: RestartableHub, pipeline: StartPipeline, condition: str
) -> None:
    """A record that the hub refuses even when shortened is counted as lost; the others arrive, in order."""
    running = pipeline(started=False)
    running.append(10)
    own_hub.broker.set_faults(reject=4, reject_condition=f"amqp:{condition}")  # the batch, then its first record
    running.sender.start()
    running.wait_sent()
    assert own_hub.numbers() == list(range(1, 10))
    assert own_hub.duplicates() == 0
    assert running.losses.by_reason() == {"refused": 1}


def test_a_record_refused_for_its_size_is_shortened(own_hub: RestartableHub, pipeline: StartPipeline) -> None:
    """If the hub accepts less than its link allows, the record is shortened until it fits; the others stay whole."""
    running = pipeline(started=False)
    running.append(1, content="." * 50_000)
    running.append(9)
    own_hub.broker.set_faults(reject=6, reject_condition="amqp:link:message-size-exceeded")
    running.sender.start()
    running.wait_sent()
    records = own_hub.records()
    assert [number_of(record) for record in records] == list(range(10))
    assert records[0]["truncated"] is True
    assert records[0]["content_bytes"] > 50_000
    assert len(records[0]["content"]) < 25_000
    assert not any("truncated" in record for record in records[1:])
    assert running.losses.by_reason() == {}


def test_a_hub_that_refuses_everything_does_not_drain_the_spool(
    own_hub: RestartableHub, pipeline: StartPipeline
) -> None:
    """Each refused record is followed by a longer pause, so a fault of the hub loses few of them."""
    pace = Recorded()
    running = pipeline(pace, started=False)
    running.append(50)
    own_hub.broker.set_faults(reject=True, reject_condition="amqp:not-implemented")
    running.sender.start()
    wait_until(lambda: len(pace.rests) >= 4)
    own_hub.broker.clear_faults()
    running.wait_sent()
    lost = running.losses.by_reason()["refused"]
    assert lost <= len(pace.rests)
    assert pace.rests[3] > 2 * pace.rests[0]
    assert own_hub.numbers() == list(range(lost, 50))


def test_a_record_too_large_even_when_shortened_is_lost(own_hub: RestartableHub, pipeline: StartPipeline) -> None:
    """It is counted as too_large, and the records after it arrive."""
    own_hub.broker.set_faults(max_message_size=800)
    running = pipeline(started=False)
    assert running.spool.append(record_line(0, caller={f"field_{number}": "." for number in range(60)}))
    running.appended = 1
    running.append(3)
    running.sender.start()
    running.wait_sent()
    assert own_hub.numbers() == [1, 2, 3]
    assert running.losses.by_reason() == {"too_large": 1}


def test_the_response_timeout_is_bounded() -> None:
    """It doubles with each consecutive timeout, up to a limit."""
    pace = replace(Pace(), answer=20.0, longest_answer=60.0)
    assert [pace.patience(unanswered) for unanswered in (0, 1, 2, 1000)] == [20.0, 40.0, 60.0, 60.0]


def test_pauses_are_bounded_and_jittered() -> None:
    """However many failures, no pause exceeds the longest, and no two instances pause alike."""
    pace = Pace()
    for failures in (1, 5, 8, 100, 10_000):
        rests = {pace.pause(failures, busy=False) for _ in range(50)}
        expected = min(pace.longest_pause, pace.first_pause * 2.0 ** min(failures - 1, 30))
        assert all(0.75 * expected <= rest <= expected for rest in rests)
        assert len(rests) > 25
    assert all(pace.pause(failures, busy=True) >= 4.0 for failures in (1, 2, 3, 100))
