"""The sender on a hub that does its part: what goes out and how, what cannot, and how the thread ends."""

import asyncio
import logging
import sys
import threading
from dataclasses import replace
from typing import Any

import pytest

from exporters.hub import Hub
from exporters.sender import TURN_S, repeat
from exporters.spool import SEGMENT_BYTES
from tests.exporters.conftest import StartLine
from tests.exporters.sending import CLIENT_LEAVES_SOCKETS, FAST, HubInReach, record_line
from tests.kit.hub import wait_until

pytestmark = CLIENT_LEAVES_SOCKETS


def test_records_arrive_whole_and_in_order(own_hub: HubInReach, line: StartLine) -> None:
    """Every record arrives once, byte for byte, in the order of the appends, and leaves the disk then."""
    running = line(started=False)
    lines = [record_line(number, "ö✨" * number) for number in range(300)]
    for one in lines:
        assert running.spool.append(one)
    running.sender.start()
    running.wait_sent()
    assert [event["body"].encode() for event in own_hub.events()] == lines
    assert running.sender.sent == 300
    assert running.sender.last_success is not None
    assert not list(running.own.path().glob("*.ndjson"))


def test_an_event_tells_what_it_holds(own_hub: HubInReach, line: StartLine) -> None:
    """An event carries type, schema version and content type, so that a consumer may choose without parsing."""
    running = line()
    running.append(1)
    running.wait_sent()
    (event,) = own_hub.events()
    assert event["properties"] == {"type": "completion", "schema_version": 1}
    assert event["content_type"] == "application/json"
    assert event["partition_key"] is None


def test_the_calls_get_their_turn(line: StartLine) -> None:
    """Beside a sender that computes, a thread that wants the interpreter has it in a tenth of Python's usual time."""
    before = sys.getswitchinterval()
    try:
        sys.setswitchinterval(0.005)
        line()
        assert sys.getswitchinterval() == pytest.approx(TURN_S)
        assert TURN_S <= 0.0005
    finally:
        sys.setswitchinterval(before)


def test_batches_are_small(own_hub: HubInReach, line: StartLine) -> None:
    """A backlog goes out in batches of at most a hundred records: building a larger one would be felt by calls."""
    running = line(started=False)
    before = int(str(own_hub.broker.stats()["transfers"]))
    running.append(500, content="." * 500)
    assert running.spool.backlog().bytes < SEGMENT_BYTES  # would fit in one
    running.sender.start()
    running.wait_sent()
    assert int(str(own_hub.broker.stats()["transfers"])) - before >= 500 / 100


def test_what_is_no_record_does_not_stop_the_rest(own_hub: HubInReach, line: StartLine) -> None:
    """A line that is no record is counted as lost, whatever its size; the records around it arrive, in order."""
    running = line(started=False)
    head = record_line(0).partition(b',"timestamp"')[0]
    for bad in (
        b"",
        b"{",
        b"\x00" * 50,
        b'{"type":"completion"}',
        b"x" * 2_000_000,
        head + b',"x":' + b"y" * 2_000_000,
    ):
        running.append(1)
        assert running.spool.append(bad)
    running.append(1)
    running.sender.start()
    running.wait_sent()
    assert own_hub.numbers() == list(range(7))
    assert running.losses.by_reason() == {"malformed": 6}
    assert running.sender.sent == 7  # what is lost was not sent


def test_a_torn_line_is_counted(own_hub: HubInReach, line: StartLine) -> None:
    """What a crash left half written is dropped and counted, once the records before it have arrived."""
    running = line(started=False)
    running.append(3)
    (segment,) = running.own.path().glob("*.ndjson")
    segment.write_bytes(segment.read_bytes() + record_line(3)[:-20])
    running.sender.start()
    running.wait_sent()
    assert own_hub.numbers() == [0, 1, 2]
    assert running.losses.by_reason() == {"torn_line": 1}


def test_a_segment_that_someone_removed_is_counted(own_hub: HubInReach, line: StartLine) -> None:
    """A segment that is gone from the disk is counted as lost, record by record; the next one arrives."""
    running = line(started=False)
    running.append(3)
    (segment,) = running.own.path().glob("*.ndjson")
    segment.unlink()
    running.append(2)
    running.sender.start()
    running.wait_sent()
    assert own_hub.numbers() == [3, 4]
    assert running.losses.by_reason() == {"spool_removed": 3}


def test_a_segment_that_cannot_be_read_is_tried_for_a_while(own_hub: HubInReach, line: StartLine) -> None:
    """A disk may be away for a moment: its segment is read again before its records are counted as lost."""
    running = line(replace(FAST, longest_pause=10.0), started=False)
    running.append(3)
    (segment,) = running.own.path().glob("*.ndjson")
    segment.rename(segment.with_suffix(".away"))
    segment.mkdir()
    running.append(2)
    running.sender.start()
    wait_until(lambda: running.failures >= 2)
    segment.rmdir()
    segment.with_suffix(".away").rename(segment)
    running.wait_sent()
    assert own_hub.numbers() == [0, 1, 2, 3, 4]
    assert running.losses.by_reason() == {}


def test_a_segment_that_can_never_be_read_does_not_stop_the_rest(own_hub: HubInReach, line: StartLine) -> None:
    """In the end a segment that cannot be read is counted as lost, by name, and the next one arrives."""
    running = line(replace(FAST, longest_pause=0.02), started=False)
    running.append(3)
    (segment,) = running.own.path().glob("*.ndjson")
    segment.unlink()
    segment.mkdir()
    running.append(2)
    running.sender.start()
    running.wait_sent()
    assert own_hub.numbers() == [3, 4]
    assert running.losses.by_reason() == {"spool_unreadable": 3}
    segment.rmdir()


def test_nothing_that_fails_beside_the_sending_ends_it(
    own_hub: HubInReach, line: StartLine, caplog: pytest.LogCaptureFixture
) -> None:
    """Adoption that fails, a container that cannot be opened, a hub without an address and a client whose own task was
    cancelled are said, and survived."""
    calls: list[str] = []
    faults: list[BaseException] = [ValueError("a secret"), asyncio.CancelledError("a secret")]

    def broken_adoption() -> None:
        calls.append("adopt")
        raise RuntimeError("a secret")

    def broken_container() -> Any:
        raise ValueError("a secret")

    def connect_in_the_end() -> Any:
        if faults:
            raise faults.pop(0)
        return own_hub.connect()

    running = line(adopt=broken_adoption, open_blobs=broken_container, connect=connect_in_the_end)
    running.append(3)
    running.wait_sent()
    wait_until(lambda: calls.count("adopt") >= 3)
    assert own_hub.numbers() == [0, 1, 2]
    assert "RuntimeError" in caplog.text
    assert "ValueError" in caplog.text
    assert "secret" not in caplog.text


def test_failures_are_logged_at_a_limited_rate_and_without_content(
    own_hub: HubInReach, line: StartLine, caplog: pytest.LogCaptureFixture
) -> None:
    """A hub that is away is said once, then at the 10th failure; its return is said; no record's text is."""
    caplog.set_level(logging.INFO, "exporters")
    running = line()
    own_hub.kill()
    running.append(1, content="the answer")
    wait_until(lambda: running.failures >= 12)
    own_hub.restart()
    running.wait_sent()
    said = [record.getMessage() for record in caplog.records if record.name.startswith("exporters")]
    assert [text.partition(":")[0] for text in said[:2]] == [
        "sending failed 1 times, records wait",
        "sending failed 10 times, records wait",
    ]
    assert "records are sent again" in said[-1]
    assert len(said) == 3
    assert "the answer" not in caplog.text


def test_a_chore_that_fails_is_done_again() -> None:
    """What is done again and again goes on after a failure."""
    done: list[int] = []

    async def chore() -> None:
        done.append(len(done))
        if len(done) == 1:
            raise OSError
        if len(done) == 3:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(repeat(chore, 0.0))
    assert done == [0, 1, 2]


def test_flush_waits_until_all_is_sent(own_hub: HubInReach, line: StartLine) -> None:
    """`flush` seals, ends a rest and returns True once the hub has everything; False when its time is over."""
    running = line(replace(FAST, first_pause=60.0, longest_pause=60.0))
    own_hub.kill()
    running.append(1)
    wait_until(lambda: running.failures >= 1)
    assert not running.sender.flush(0.05)
    own_hub.restart()
    assert running.spool.append(record_line(1))
    assert running.sender.flush(60)
    assert own_hub.numbers() == [0, 1]


def test_stop_sends_what_came_last(own_hub: HubInReach, line: StartLine) -> None:
    """A stop sends what was appended a moment before, without waiting for it to be old enough."""
    running = line(replace(FAST, linger=60.0))
    assert running.spool.append(record_line(0))
    assert running.sender.stop(60)
    assert not running.runs
    assert own_hub.numbers() == [0]


def test_stop_ends_in_time_and_keeps_what_it_could_not_send(own_hub: HubInReach, line: StartLine) -> None:
    """With a hub that hangs in the middle of a batch the thread ends within its time, and nothing leaves the disk."""
    running = line()
    running.append(1)
    running.wait_sent()
    own_hub.broker.set_faults(hold_acks=True)
    running.append(10)
    wait_until(lambda: own_hub.broker.stats()["acks_held"] == 1)
    assert not running.sender.stop(3.0)
    wait_until(lambda: not running.runs, FAST.answer - 5)  # and not by that the hub's time for an answer is over
    assert running.spool.backlog().records == 10
    # the sender may have closed a first segment while the others were still appended
    segments = running.own.path().glob("*.ndjson")
    assert sum(len(segment.read_bytes().splitlines()) for segment in segments) == 10


def test_stop_ends_a_rest(own_hub: HubInReach, line: StartLine) -> None:
    """A sender that rests after a failure tries at once when it is stopped."""
    running = line(replace(FAST, first_pause=60.0, longest_pause=60.0))
    own_hub.kill()
    running.append(1)
    wait_until(lambda: running.failures >= 1)
    own_hub.restart()
    assert running.sender.stop(60)
    assert own_hub.numbers() == [0]


def test_stop_without_a_hub_goes_on_trying(own_hub: HubInReach, line: StartLine) -> None:
    """Without a container the hub is tried up to the end of the time: it may come back."""
    running = line()
    own_hub.kill()
    running.append(1)
    wait_until(lambda: running.failures >= 1)
    stopping = threading.Thread(target=running.sender.stop, args=(60,))
    stopping.start()
    wait_until(lambda: running.failures >= 3)
    own_hub.restart()
    stopping.join(60)
    assert own_hub.numbers() == [0]


def test_an_identity_is_closed_with_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client thrown away after a failure takes its identity's connections with it."""
    closed: list[str] = []

    class Identity:
        async def close(self) -> None:
            closed.append("identity")

    monkeypatch.setattr("azure.identity.aio.DefaultAzureCredential", Identity)

    async def connect_and_close() -> None:
        await Hub("records", namespace="example.servicebus.windows.net").connect().close()

    asyncio.run(connect_and_close())
    assert closed == ["identity"]
