"""A table and its checkpoints in Blob Storage: the same promises, against Azurite."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.storage.blob import ContainerClient

from dev.event_hubs.process import BrokerProcess
from tests.analytics.consuming import counts
from tests.analytics.fill import bodies, fill
from tests.analytics.kit import ROOT, line, run
from tests.analytics.test_consume import KILL_AT, Start, consume, port  # noqa: F401
from tests.exporters.sending import CLIENT_LEAVES_SOCKETS
from tests.kit import npm
from tests.kit.azurite import Azurite
from tests.kit.hub import wait_until

pytestmark = [CLIENT_LEAVES_SOCKETS, pytest.mark.heavy, pytest.mark.timeout(300)]


class KilledAzurite(Azurite):
    """Killed rather than stopped: a graceful stop would wait for the requests of killed consumers."""

    def close(self) -> None:
        self._process.kill()
        super().close()


@pytest.fixture(scope="module")
def azurite() -> Iterator[Azurite]:
    with npm.needed_for("Azurite"):
        running = KilledAzurite(npm.installed(ROOT / "tests/azurite") / "node_modules/.bin/azurite-blob")
    yield running
    running.close()


@pytest.fixture
def container(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a new container; the environment has the account's connection string."""
    name = f"table-{uuid.uuid4().hex}"
    with ContainerClient.from_connection_string(azurite.conn_str, name) as client:
        client.create_container()
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.conn_str)
    monkeypatch.setenv("AZURE_CHECKPOINT_CONTAINER_URL", f"https://unused/{name}-checkpoints")
    return name


IDS = """
import sys
from analytics.folder import folder
from analytics.table import connect, query
table = folder(sys.argv[1])
print(*query(connect(table), table, 'SELECT id FROM "Calls" ORDER BY id')["id"].to_pylist())
"""


def ids(url: str) -> list[int]:
    """In a separate process: adlfs keeps its connections open, and Azurite would wait for them when it stops."""
    ended = subprocess.run([sys.executable, "-c", IDS, url], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return [int(id, 16) for id in ended.stdout.split()]


def files(container: str) -> list[str]:
    """The Parquet files in the container."""
    with ContainerClient.from_connection_string(os.environ["AZURE_STORAGE_CONNECTION_STRING"], container) as client:
        return [name for name in client.list_blob_names() if name.endswith(".parquet")]


def test_a_table_in_blob_storage(tmp_path: Path, consume: Start, container: str) -> None:  # noqa: F811
    """Every record is a row once, repeats are dropped, and queries read it from there."""
    url = f"abfss://{container}/records"
    fill(tmp_path / "hub", [*bodies(2000, hours=3), line(5), b"not a record"])
    with BrokerProcess(tmp_path / "hub") as broker:
        records, repeats, aside, lag = counts(consume(broker, url, "--once").wait())
        assert (records + repeats, aside, lag) == (2001, 1, 0)
        assert counts(consume(broker, url, "--once").wait())[0] == 0
    assert sorted(set(ids(url))) == list(range(2000))
    found = run("analytics.ask", "calls_over_time", "--table", url, "--json").stdout.splitlines()
    assert sum(json.loads(row)["calls"] for row in found) == records


def test_another_consumer_continues_after_a_kill(tmp_path: Path, consume: Start, container: str, port: int) -> None:  # noqa: F811
    """After a kill with the table's lease held and files written, another continues once lease and ownership expire."""
    url = f"abfss://{container}/records"
    fill(tmp_path / "hub", bodies(600, hours=6), partitions=1)
    with BrokerProcess(tmp_path / "hub", "--port", str(port), "--partitions", "1") as broker:
        killed = consume(broker, url, "--once", program=KILL_AT.format(name="written", count=3))
        assert killed.process.wait(120) == -signal.SIGKILL
        assert len(files(container)) == 3
        consume(broker, url, "--once").wait()
    assert ids(url) == list(range(600))


def test_checkpoints_of_another_table_are_refused(tmp_path: Path, consume: Start, container: str) -> None:  # noqa: F811
    """They would make this table miss everything before them: the consumer says so. Another group has its own."""
    other = tmp_path / "table"
    fill(tmp_path / "hub", bodies(100))
    with BrokerProcess(tmp_path / "hub") as broker:
        consume(broker, f"abfss://{container}/records", "--once").wait()
        _, said = consume(broker, other, "--once").process.communicate(timeout=120)
        assert "OtherTable: the checkpoints of this consumer group belong to the table at abfs" in said
        assert f"{container}/records" in said
        assert counts(consume(broker, other, "--once", "--group", "other").wait())[0] == 100


def test_consumers_share_a_table_in_blob_storage(tmp_path: Path, consume: Start, container: str) -> None:  # noqa: F811
    """They share the partitions through leases of blobs; if one is killed, the other takes over all of them."""
    url = f"abfss://{container}/records"
    fill(tmp_path / "hub", bodies(4000, hours=2))
    with BrokerProcess(tmp_path / "hub") as broker:
        first, second = (consume(broker, url, "--flush-seconds", "0.2") for _ in range(2))
        wait_until(lambda: len(files(container)) > 0, 120)
        first.process.kill()
        wait_until(lambda: len(set(ids(url))) == 4000, 120)
        second.process.terminate()
        second.wait()
    assert ids(url) == list(range(4000))
