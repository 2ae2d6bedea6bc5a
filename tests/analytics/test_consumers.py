"""Several consumers of one table: they share the partitions, and take over those of a killed one."""

import contextlib
import sqlite3
import time
from pathlib import Path

import pytest
from azure.eventhub import EventData

from dev.event_hubs.process import BrokerProcess
from tests.analytics.fill import bodies, fill
from tests.analytics.kit import line
from tests.analytics.test_consume import Start, consume, ids, port  # noqa: F401
from tests.dev.event_hubs_client import producer_of
from tests.exporters.sending import CLIENT_LEAVES_SOCKETS
from tests.kit.hub import wait_until

pytestmark = [CLIENT_LEAVES_SOCKETS, pytest.mark.timeout(300)]  # many processes, each slow to start


def owners(table: Path) -> list[str]:
    """The owner of each partition; empty before the first claim."""
    with contextlib.closing(sqlite3.connect(table / "_consumer/checkpoints.sqlite")) as database:
        try:
            return [owner for (owner,) in database.execute("SELECT owner FROM ownership WHERE owner != ''")]
        except sqlite3.OperationalError:
            return []


def test_partitions_of_a_killed_consumer_move(tmp_path: Path, consume: Start) -> None:  # noqa: F811
    """Two share the partitions; within 30 s of one's death the other has all, and no record is lost or duplicated."""
    fill(tmp_path / "hub", bodies(2000))
    table = tmp_path / "table"
    with BrokerProcess(tmp_path / "hub") as broker:
        began = time.monotonic()
        first = consume(broker, table)
        wait_until(lambda: (table / "_consumer/checkpoints.sqlite").exists() and len(owners(table)) == 4)
        started_in = time.monotonic() - began
        second = consume(broker, table)
        wait_until(lambda: sorted(map(owners(table).count, set(owners(table)))) == [2, 2])
        with producer_of(broker) as producer:
            for number in range(2000, 2040):
                producer.send_batch([EventData(line(number))])
            first.process.kill()
            killed = time.monotonic()
            for number in range(2040, 2080):
                producer.send_batch([EventData(line(number))])
        wait_until(lambda: len(set(ids(table))) == 2080, 150)
        assert len(set(owners(table))) == 1
        assert time.monotonic() - killed < max(30, 4 * started_in)  # more on a busy machine
        second.process.terminate()
        second.wait()
    assert ids(table) == list(range(2080))


@pytest.mark.heavy
@pytest.mark.parametrize("count", [3])
def test_consumers_share_a_backlog(tmp_path: Path, consume: Start, count: int) -> None:  # noqa: F811
    """Consumers that start together, and take partitions from each other while reading, write each record once."""
    fill(tmp_path / "hub", bodies(12_000, hours=2))
    table = tmp_path / "table"
    with BrokerProcess(tmp_path / "hub") as broker:
        running = [consume(broker, table, "--once", "--flush-seconds", "0.1") for _ in range(count)]
        for each in running:
            each.wait()
    assert ids(table) == list(range(12_000))


@pytest.mark.heavy
def test_a_consumer_survives_a_hub_restart(tmp_path: Path, consume: Start, port: int) -> None:  # noqa: F811
    """If the hub dies and comes back, the consumer continues where it was, without a restart."""
    table = tmp_path / "table"
    fill(tmp_path / "hub", bodies(100))
    with BrokerProcess(tmp_path / "hub", "--port", str(port)) as broker:
        running = consume(broker, table)
        wait_until(lambda: len(ids(table)) == 100)
        broker.kill()
    with BrokerProcess(tmp_path / "hub", "--port", str(port)) as broker, producer_of(broker) as producer:
        for number in range(100, 110):
            producer.send_batch([EventData(line(number))])
        wait_until(lambda: len(ids(table)) == 110)
        running.process.terminate()
        running.wait()
    assert ids(table) == list(range(110))
