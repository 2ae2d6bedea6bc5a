"""The sender against a real broker that fails in every way it can: all records arrive in the end, in order."""

import signal
from collections.abc import Callable
from dataclasses import replace

import pytest

from exporters.pace import Pace
from tests.exporters.conftest import StartLine
from tests.exporters.owner import open_files, segments
from tests.exporters.sending import CLIENT_LEAVES_SOCKETS, FAST, IMPATIENT, HubInReach, Recorded, number_of, record_line
from tests.kit.hub import wait_until

pytestmark = CLIENT_LEAVES_SOCKETS

type Fault = Callable[[HubInReach], None]


def setting(**faults: object) -> Fault:
    return lambda hub: hub.broker.set_faults(**faults)


def clearing(hub: HubInReach) -> None:
    hub.broker.clear_faults()


def killing(hub: HubInReach) -> None:
    hub.kill()


def restarting(*options: str) -> Fault:
    return lambda hub: hub.restart(*options)


def signalling(number: signal.Signals) -> Fault:
    return lambda hub: hub.broker.process.send_signal(number)


LASTING: dict[str, tuple[Fault, Fault, Pace]] = {
    "killed": (killing, restarting(), FAST),
    "rejecting": (setting(reject=True), clearing, FAST),
    "acks held": (setting(hold_acks=True), clearing, IMPATIENT),
    "frozen": (setting(frozen=True), clearing, IMPATIENT),
    "stopped": (signalling(signal.SIGSTOP), signalling(signal.SIGCONT), IMPATIENT),
    "silent at connect": (setting(silent_open=True, idle_close="connection"), clearing, IMPATIENT),
    "wrong key": (restarting("--key", "another"), restarting(), FAST),
    "hub missing": (restarting("--hub", "another"), restarting(), FAST),
}


@pytest.mark.parametrize("fault", LASTING)
def test_all_arrive_once_the_fault_is_over(own_hub: HubInReach, line: StartLine, fault: str) -> None:
    """Appends go on while the hub fails, and every record arrives, in order, once it does no more."""
    begin, end, pace = LASTING[fault]
    running = line(pace)
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
def test_a_broken_connection_is_made_again(own_hub: HubInReach, line: StartLine, fault: str) -> None:
    """A connection that breaks costs nothing: what was on it is sent on the next, once."""
    running = line()
    running.append(5)
    running.wait_sent()
    own_hub.broker.set_faults(**PASSING[fault])
    running.append(40, content="." * 1000)
    running.wait_sent()
    assert own_hub.numbers() == list(range(45))
    assert own_hub.copies() == 0


def test_a_restarted_hub_is_found_again(own_hub: HubInReach, line: StartLine) -> None:
    """A hub that was away for a moment between two batches gets all of both."""
    running = line()
    for number in range(3):
        running.append(10)
        running.wait_sent()
        assert own_hub.numbers() == list(range(10 * number + 10))
        own_hub.restart()


def test_a_lost_acknowledgement_makes_copies_of_one_id(own_hub: HubInReach, line: StartLine) -> None:
    """What the hub has stored and not acknowledged is sent again, under the same ids and in order."""
    running = line()
    own_hub.broker.set_faults(lose_acks=3)
    for _ in range(3):
        running.append(10)
    running.wait_sent()
    assert own_hub.numbers() == list(range(30))
    assert own_hub.copies() > 0


def test_a_hub_frozen_in_the_middle_of_a_backlog(own_hub: HubInReach, line: StartLine) -> None:
    """Frozen between the batches of a large segment the hub gets, thawed, the rest; what it had is not sent again."""
    running = line(IMPATIENT, started=False)
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
    # before that, a slow machine may have let the time for an answer pass, and got copies
    later = arrived[arrived.index(acknowledged) :] if acknowledged < 900 else []
    assert all(number >= acknowledged for number in later)


def test_what_waits_is_safe_and_costs_no_open_files(own_hub: HubInReach, line: StartLine) -> None:
    """While the hub is away what comes is brought to disk all the same, into few segments, and none is kept open."""
    running = line(replace(FAST, sync_every=0.05))
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


def test_a_busy_hub_is_left_alone_for_four_seconds(own_hub: HubInReach, line: StartLine) -> None:
    """After ServerBusy the sender rests at least the 4 s that the service asks for, and hardly more at first."""
    pace = Recorded()
    running = line(pace)
    own_hub.broker.set_faults(busy=6)
    running.append(10)
    running.wait_sent()
    assert len(pace.rests) == 3  # the client asks twice each time
    assert all(4.0 <= rest <= 5.0 for rest in pace.rests)
    assert own_hub.numbers() == list(range(10))
    assert own_hub.copies() == 0


def test_rests_grow_while_the_hub_is_away(own_hub: HubInReach, line: StartLine) -> None:
    """Each failure in a row is followed by a longer rest, and success by none."""
    pace = Recorded()
    running = line(pace)
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


def test_a_slow_hub_is_given_more_time(own_hub: HubInReach, line: StartLine) -> None:
    """A hub that let the time for an answer pass has longer for the next: slowness must not make copies for ever."""
    pace = Recorded(answer=0.3)
    running = line(pace)
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
def test_a_record_refused_for_ever_does_not_stop_the_rest(own_hub: HubInReach, line: StartLine, condition: str) -> None:
    """A record that the hub refuses whatever is left of it is counted as lost, by name; the others arrive, in order."""
    running = line(started=False)
    running.append(10)
    own_hub.broker.set_faults(reject=4, reject_condition=f"amqp:{condition}")  # the batch, then its first record
    running.sender.start()
    running.wait_sent()
    assert own_hub.numbers() == list(range(1, 10))
    assert own_hub.copies() == 0
    assert running.losses.by_reason() == {"refused": 1}


def test_a_record_refused_for_its_size_is_shortened_until_it_is_taken(own_hub: HubInReach, line: StartLine) -> None:
    """Where the hub takes less than its link said, the record gets there in less; the others go whole."""
    running = line(started=False)
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


def test_a_hub_that_refuses_everything_does_not_empty_the_spool(own_hub: HubInReach, line: StartLine) -> None:
    """Each record given up as refused is followed by a longer rest, so a fault that is the hub's costs few of them."""
    pace = Recorded()
    running = line(pace, started=False)
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


def test_a_link_smaller_than_a_record(own_hub: HubInReach, line: StartLine) -> None:
    """A record larger than the link allows is shortened, says so and is valid; nothing else is touched or lost."""
    own_hub.broker.set_faults(max_message_size=16_384)
    running = line(started=False)
    for content in ("", "." * 40_000, "", "✨" * 40_000, ""):
        running.append(10, content)
    running.sender.start()
    running.wait_sent()
    records = own_hub.records()
    assert [number_of(record) for record in records] == list(range(50))
    for record in records:
        large = number_of(record) // 10 in (1, 3)
        assert record.get("truncated") == (True if large else None)
        assert (record.get("content_bytes", 0) > 40_000) == large
        assert len(record["content"]) < 16_384
    assert running.losses.by_reason() == {}


def test_a_link_too_small_for_any_record(own_hub: HubInReach, line: StartLine) -> None:
    """A link that takes no record at all loses them by name, and those behind them arrive."""
    own_hub.broker.set_faults(max_message_size=800)
    running = line(started=False)
    assert running.spool.append(record_line(0, caller={f"field_{number}": "." for number in range(60)}))
    running.appended = 1
    running.append(3)
    running.sender.start()
    running.wait_sent()
    assert own_hub.numbers() == [1, 2, 3]
    assert running.losses.by_reason() == {"too_large": 1}


def test_the_time_for_an_answer_is_bounded() -> None:
    """The time a hub has for an answer doubles with each that it let pass, up to a limit."""
    pace = replace(Pace(), answer=20.0, longest_answer=60.0)
    assert [pace.patience(unanswered) for unanswered in (0, 1, 2, 1000)] == [20.0, 40.0, 60.0, 60.0]


def test_rests_are_capped_and_jittered() -> None:
    """However many failures, no rest is longer than the longest, and no two instances rest alike."""
    pace = Pace()
    for failures in (1, 5, 8, 100, 10_000):
        rests = {pace.pause(failures, busy=False) for _ in range(50)}
        expected = min(pace.longest_pause, pace.first_pause * 2.0 ** min(failures - 1, 30))
        assert all(0.75 * expected <= rest <= expected for rest in rests)
        assert len(rests) > 25
    assert all(pace.pause(failures, busy=True) >= 4.0 for failures in (1, 2, 3, 100))
