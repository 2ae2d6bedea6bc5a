"""The sender on a healthy hub: what is sent and how, what is not, and how the thread stops."""

import asyncio
import logging
import sys
import threading
from dataclasses import replace
from typing import Any

import pytest

from exporters.hub import Hub
from exporters.sender import TURN_S
from exporters.spool import SEGMENT_BYTES
from tests.exporters.conftest import StartPipeline
from tests.exporters.sending import CLIENT_LEAVES_SOCKETS, FAST, RestartableHub, record_line
from tests.kit.hub import wait_until

pytestmark = CLIENT_LEAVES_SOCKETS


def test_records_arrive_whole_and_in_order(own_hub: RestartableHub, pipeline: StartPipeline) -> None:
    """Every record arrives once, byte for byte, in the order of the appends, and then leaves the disk."""
    running = pipeline(started=False)
    lines = [record_line(number, "ö✨" * number) for number in range(300)]
    for one in lines:
        assert running.spool.append(one)
    running.sender.start()
    running.wait_sent()
    assert [event["body"].encode() for event in own_hub.events()] == lines
    assert running.sender.sent == 300
    assert running.sender.last_success is not None
    assert not list(running.own.path().glob("*.ndjson"))


def test_events_have_properties_and_content_type(own_hub: RestartableHub, pipeline: StartPipeline) -> None:
    """An event carries type, schema version and content type, so that a consumer can filter without parsing."""
    running = pipeline()
    running.append(1)
    running.wait_sent()
    (event,) = own_hub.events()
    assert event["properties"] == {"type": "completion", "schema_version": 1}
    assert event["content_type"] == "application/json"
    assert event["partition_key"] is None


def test_the_switch_interval_is_short(pipeline: StartPipeline) -> None:
    """While the sender computes, another thread gets the interpreter in a tenth of Python's usual time."""
    before = sys.getswitchinterval()
    try:
        sys.setswitchinterval(0.005)
        pipeline()
        assert sys.getswitchinterval() == pytest.approx(TURN_S)
        assert TURN_S <= 0.0005
    finally:
        sys.setswitchinterval(before)


def test_batches_are_small(own_hub: RestartableHub, pipeline: StartPipeline) -> None:
    """A backlog is sent in batches of at most a hundred records: building a larger one would delay calls."""
    running = pipeline(started=False)
    before = int(str(own_hub.broker.stats()["transfers"]))
    running.append(500, content="." * 500)
    assert running.spool.backlog().bytes < SEGMENT_BYTES  # would fit in one
    running.sender.start()
    running.wait_sent()
    assert int(str(own_hub.broker.stats()["transfers"])) - before >= 500 / 100


def test_a_line_that_is_not_a_record_does_not_stop_the_rest(own_hub: RestartableHub, pipeline: StartPipeline) -> None:
    """It is counted as lost, whatever its size; the records around it arrive, in order."""
    running = pipeline(started=False)
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
    assert running.sender.sent == 7  # without the lost lines


def test_a_torn_line_is_counted(own_hub: RestartableHub, pipeline: StartPipeline) -> None:
    """It is dropped, and counted once the records before it have arrived."""
    running = pipeline(started=False)
    running.append(3)
    (segment,) = running.own.path().glob("*.ndjson")
    segment.write_bytes(segment.read_bytes() + record_line(3)[:-20])
    running.sender.start()
    running.wait_sent()
    assert own_hub.numbers() == [0, 1, 2]
    assert running.losses.by_reason() == {"torn_line": 1}


def test_a_removed_segment_is_counted(own_hub: RestartableHub, pipeline: StartPipeline) -> None:
    """All its records are counted as lost; the next segment arrives."""
    running = pipeline(started=False)
    running.append(3)
    (segment,) = running.own.path().glob("*.ndjson")
    segment.unlink()
    running.append(2)
    running.sender.start()
    running.wait_sent()
    assert own_hub.numbers() == [3, 4]
    assert running.losses.by_reason() == {"spool_removed": 3}


def test_failures_beside_the_sending_do_not_stop_it(
    own_hub: RestartableHub, pipeline: StartPipeline, caplog: pytest.LogCaptureFixture
) -> None:
    """An adoption that fails, which is retried, a container that cannot be opened, a client that cannot be created and
    one whose own task was cancelled are logged, and the records are sent."""
    calls: list[str] = []
    faults: list[BaseException] = [ValueError("a secret"), asyncio.CancelledError("a secret")]

    def broken_adoption() -> None:
        calls.append("adopt")
        raise RuntimeError("a secret")

    def broken_container() -> Any:
        raise ValueError("a secret")

    def connect_eventually() -> Any:
        if faults:
            raise faults.pop(0)
        return own_hub.connect()

    running = pipeline(adopt=broken_adoption, open_blobs=broken_container, connect=connect_eventually)
    running.append(3)
    running.wait_sent()
    wait_until(lambda: calls.count("adopt") >= 3)
    assert own_hub.numbers() == [0, 1, 2]
    assert "RuntimeError" in caplog.text
    assert "ValueError" in caplog.text
    assert "secret" not in caplog.text


def test_failures_are_logged_at_a_limited_rate_and_without_content(
    own_hub: RestartableHub, pipeline: StartPipeline, caplog: pytest.LogCaptureFixture
) -> None:
    """An outage is logged at the 1st and the 10th failure, and so is its end; no record's content is logged."""
    caplog.set_level(logging.INFO, "exporters")
    running = pipeline()
    own_hub.kill()
    running.append(1, content="the answer")
    wait_until(lambda: running.failures >= 12)
    own_hub.restart()
    running.wait_sent()
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("exporters")]
    assert [text.partition(":")[0] for text in messages[:2]] == [
        "sending failed 1 times, records wait",
        "sending failed 10 times, records wait",
    ]
    assert "records are sent again" in messages[-1]
    assert len(messages) == 3
    assert "the answer" not in caplog.text


def test_flush_waits_until_everything_is_sent(own_hub: RestartableHub, pipeline: StartPipeline) -> None:
    """`flush` seals, ends a pause, and returns True once the hub has everything, False on timeout."""
    running = pipeline(replace(FAST, first_pause=60.0, longest_pause=60.0))
    own_hub.kill()
    running.append(1)
    wait_until(lambda: running.failures >= 1)
    assert not running.sender.flush(0.05)
    own_hub.restart()
    assert running.spool.append(record_line(1))
    assert running.sender.flush(60)
    assert own_hub.numbers() == [0, 1]


def test_stop_sends_the_last_records(own_hub: RestartableHub, pipeline: StartPipeline) -> None:
    """`stop` sends what was just appended, without waiting for `linger`."""
    running = pipeline(replace(FAST, linger=60.0))
    assert running.spool.append(record_line(0))
    assert running.sender.stop(60)
    assert not running.runs
    assert own_hub.numbers() == [0]


def test_stop_is_in_time_and_keeps_unsent_records(own_hub: RestartableHub, pipeline: StartPipeline) -> None:
    """With a hub that hangs in the middle of a batch, the thread ends within the time limit, and nothing leaves the
    disk."""
    running = pipeline()
    running.append(1)
    running.wait_sent()
    own_hub.broker.set_faults(hold_acks=True)
    running.append(10)
    wait_until(lambda: own_hub.broker.stats()["acks_held"] == 1)
    assert not running.sender.stop(3.0)
    wait_until(lambda: not running.runs, FAST.answer - 5)  # not because the hub's response timed out
    assert running.spool.backlog().records == 10
    # the sender may have sealed a first segment between two appends
    segments = running.own.path().glob("*.ndjson")
    assert sum(len(segment.read_bytes().splitlines()) for segment in segments) == 10


def test_stop_ends_a_pause(own_hub: RestartableHub, pipeline: StartPipeline) -> None:
    """A sender that backs off after a failure retries immediately when it is stopped."""
    running = pipeline(replace(FAST, first_pause=60.0, longest_pause=60.0))
    own_hub.kill()
    running.append(1)
    wait_until(lambda: running.failures >= 1)
    own_hub.restart()
    assert running.sender.stop(60)
    assert own_hub.numbers() == [0]


def test_stop_retries_until_its_time_is_over(own_hub: RestartableHub, pipeline: StartPipeline) -> None:
    """Without a container the hub is retried until the time limit: it may come back."""
    running = pipeline()
    own_hub.kill()
    running.append(1)
    wait_until(lambda: running.failures >= 1)
    stopping = threading.Thread(target=running.sender.stop, args=(60,))
    stopping.start()
    wait_until(lambda: running.failures >= 3)
    own_hub.restart()
    stopping.join(60)
    assert own_hub.numbers() == [0]


def test_a_credential_is_closed_with_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that is replaced after a failure leaves no connections of its credential."""
    closed: list[str] = []

    class Identity:
        async def close(self) -> None:
            closed.append("identity")

    monkeypatch.setattr("azure.identity.aio.DefaultAzureCredential", Identity)

    async def connect_and_close() -> None:
        await Hub("records", namespace="example.servicebus.windows.net").connect().close()

    asyncio.run(connect_and_close())
    assert closed == ["identity"]
