"""The consumer as a process: each record once in the table, even after kills, and invalid events set aside."""

import json
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from azure.eventhub import EventData

from analytics.folder import LocalFolder
from analytics.table import parts, while_files_move
from dev.event_hubs.process import BrokerProcess
from tests.analytics.consuming import ConsumerProcess, counts, peak_memory
from tests.analytics.fill import bodies, fill
from tests.analytics.kit import call_id, line, rows
from tests.dev.event_hubs_client import producer_of
from tests.exporters.sending import CLIENT_LEAVES_SOCKETS
from tests.kit.hub import wait_until
from tests.kit.ports import held_port

pytestmark = [CLIENT_LEAVES_SOCKETS, pytest.mark.timeout(300)]  # many processes, each slow to start

type Start = Callable[..., ConsumerProcess]


@pytest.fixture
def consume() -> Iterator[Start]:
    """Start a consumer; it is killed at the end if it still runs."""
    started: list[ConsumerProcess] = []

    def start(broker: BrokerProcess, table: Path | str, *options: str, **more: str) -> ConsumerProcess:
        started.append(ConsumerProcess(broker.connection_string, table, *options, **more))
        return started[-1]

    yield start
    for process in started:
        process.close()


@pytest.fixture
def port() -> Iterator[int]:
    """A port for a hub that is started several times: its address identifies it."""
    with held_port() as port:
        yield port


def send(broker: BrokerProcess, *numbers: int) -> None:
    """Send records in one batch."""
    with producer_of(broker) as producer:
        producer.send_batch([EventData(line(number)) for number in numbers])


def ids(table: Path) -> list[int]:
    return [int(row["id"], 16) for row in rows(table, "id")]


def test_records_become_rows_once(tmp_path: Path, consume: Start) -> None:
    """Every record of every partition is a row in its hour, once; a second run has nothing to do."""
    fill(tmp_path / "hub", bodies(3000, hours=5))
    with BrokerProcess(tmp_path / "hub") as broker:
        assert counts(consume(broker, tmp_path / "table", "--once").wait()) == (3000, 0, 0, 0)
        assert ids(tmp_path / "table") == list(range(3000))
        assert {part.hour[-2:] for part in parts(LocalFolder(tmp_path / "table"))} == {f"{h:02}" for h in range(6, 12)}
        assert counts(consume(broker, tmp_path / "table", "--once").wait()) == (0, 0, 0, 0)
    assert ids(tmp_path / "table") == list(range(3000))


def test_repeats_are_dropped(tmp_path: Path, consume: Start) -> None:
    """A record that the hub holds several times is one row: within a batch, across partitions, and in a later run."""
    records = [line(number) for number in (1, 2, 3, 1, 1, 2, 4, 4)]
    fill(tmp_path / "hub", records)
    with BrokerProcess(tmp_path / "hub") as broker:
        assert counts(consume(broker, tmp_path / "table", "--once").wait()) == (4, 4, 0, 0)
        send(broker, 3, 5)
        assert counts(consume(broker, tmp_path / "table", "--once").wait()) == (1, 1, 0, 0)
    assert ids(tmp_path / "table") == [1, 2, 3, 4, 5]


def test_invalid_events_are_set_aside(tmp_path: Path, consume: Start) -> None:
    """With their reason and place, once, and without blocking other events."""
    events = [line(1), b"{", b"\xff\xfe", line(2, timestamp="yesterday"), line(3), b"", line(4), line(5)]
    fill(tmp_path / "hub", events, partitions=1)
    with BrokerProcess(tmp_path / "hub", "--partitions", "1") as broker:
        assert counts(consume(broker, tmp_path / "table", "--once").wait()) == (4, 0, 4, 0)
    (file,) = (tmp_path / "table/_set_aside").iterdir()
    found = [json.loads(text) for text in file.read_text().splitlines()]
    assert [each["sequence_number"] for each in found] == [1, 2, 3, 5]
    assert found[0]["body"] == "{"
    assert found[0]["reason"].startswith("not JSON")
    assert found[1]["body_base64"] == "//4="
    assert "yesterday" in found[2]["reason"]
    assert ids(tmp_path / "table") == [1, 3, 4, 5]


KILL_AT = """
import os, signal
from analytics.consume import consumer, writer
steps = []
def step(name):
    steps.append(name)
    if steps.count({name!r}) == {count}:
        os.kill(os.getpid(), signal.SIGKILL)
class Killed(writer.Writer):
    def __init__(self, folder, stream):
        super().__init__(folder, stream, step)
consumer.Consumer.__init__.__defaults__ = (Killed, 2.0)
"""


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "count"), [("written", 1), ("written", 4), ("removed", 1)])
def test_a_kill_while_writing_loses_nothing(tmp_path: Path, consume: Start, port: int, name: str, count: int) -> None:
    """Killed between the first file and the checkpoint, and restarted: every record once, the finished one kept."""
    events = list(bodies(600, hours=6))
    cut = json.dumps({**json.loads(events[2]), "status": "interrupted"}).encode()
    fill(tmp_path / "hub", [cut, events[0]], partitions=1)
    with BrokerProcess(tmp_path / "hub", "--port", str(port), "--partitions", "1") as broker:
        consume(broker, tmp_path / "table", "--once").wait()
    fill(tmp_path / "hub", events, partitions=1)
    with BrokerProcess(tmp_path / "hub", "--port", str(port), "--partitions", "1") as broker:
        killed = consume(broker, tmp_path / "table", "--once", program=KILL_AT.format(name=name, count=count))
        assert killed.process.wait(120) == -signal.SIGKILL
        consume(broker, tmp_path / "table", "--once").wait()
    assert ids(tmp_path / "table") == list(range(600))
    assert {row["status"] for row in rows(tmp_path / "table", "status, id") if row["id"] == call_id(2)} != {
        "interrupted"
    }


@pytest.mark.heavy
def test_kills_at_any_moment_lose_nothing(tmp_path: Path, consume: Start) -> None:
    """Killed repeatedly at arbitrary moments: every record is in the table once."""
    fill(tmp_path / "hub", bodies(40_000, hours=3))
    table = tmp_path / "table"
    with BrokerProcess(tmp_path / "hub") as broker:
        for number in range(4):
            running = consume(broker, table, "--flush-seconds", "0.05")
            before = len(while_files_move(lambda: parts(LocalFolder(table))))
            wait_until(lambda before=before: len(while_files_move(lambda: parts(LocalFolder(table)))) > before)
            threading.Event().wait(0.03 * number)
            running.process.kill()
            running.process.wait(120)
        consume(broker, table, "--once").wait()
    assert ids(table) == list(range(40_000))


def test_another_empty_hub_of_the_same_name_is_refused(tmp_path: Path, consume: Start, port: int) -> None:
    """A hub that was deleted and created again does not match the checkpoints."""
    fill(tmp_path / "hub", [line(number) for number in range(20)], partitions=1)
    with BrokerProcess(tmp_path / "hub", "--port", str(port), "--partitions", "1") as broker:
        consume(broker, tmp_path / "table", "--once").wait()
    with BrokerProcess(tmp_path / "again", "--port", str(port), "--partitions", "1") as broker:
        _, said = consume(broker, tmp_path / "table", "--once").process.communicate(timeout=120)
    assert "the checkpoint of partition 0 is past its end: this is another hub of the same name" in said
    assert ids(tmp_path / "table") == list(range(20))


def test_a_table_without_checkpoints_is_refused(tmp_path: Path, consume: Start) -> None:
    """A table that lost them is not written over: the consumer says so, and no row is lost."""
    fill(tmp_path / "hub", [line(number) for number in range(10)], partitions=1)
    with BrokerProcess(tmp_path / "hub", "--partitions", "1") as broker:
        consume(broker, tmp_path / "table", "--once").wait()
        send(broker, *range(10, 20))
        consume(broker, tmp_path / "table", "--once").wait()
        shutil.rmtree(tmp_path / "table" / "_consumer")
        _, said = consume(broker, tmp_path / "table", "--once").process.communicate(timeout=120)
        assert "CheckpointLost: the table holds events 10 to 19 of partition 0" in said
        assert ids(tmp_path / "table") == list(range(20))
        assert counts(consume(broker, tmp_path / "table", "--once", "--group", "new").wait()) == (0, 20, 0, 0)
    assert ids(tmp_path / "table") == list(range(20))


@pytest.mark.parametrize(
    ("conn_str", "named"),
    [("nonsense", "AZURE_EVENTHUB_CONN_STR: "), ("", "AZURE_EVENTHUB_NAMESPACE must name the hub")],
)
def test_a_missing_hub_setting_is_reported(tmp_path: Path, conn_str: str, named: str) -> None:
    """Without a valid connection string it exits immediately and names the setting."""
    refused = ConsumerProcess(conn_str, tmp_path / "table", "--once")
    _, said = refused.process.communicate(timeout=120)
    assert refused.process.returncode != 0
    assert named in said
    assert "Traceback" not in said


@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_a_long_backlog_needs_little_memory(tmp_path: Path, consume: Start) -> None:
    """A hub with many records is read to its end in less than 1 GB (throughput: `python -m tests.analytics.scale`)."""
    count = 150_000
    fill(tmp_path / "hub", bodies(count))
    with BrokerProcess(tmp_path / "hub") as broker:
        running = consume(broker, tmp_path / "table", "--once")
        peak = peak_memory(running.process)
        running.wait()
    assert 0 < peak < 1 << 20  # KiB
    assert len(ids(tmp_path / "table")) == count
