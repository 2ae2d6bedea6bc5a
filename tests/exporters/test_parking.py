"""Segments that a stopping instance parks in Blob Storage (a real Azurite), and how others import them."""

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import ContainerClient

from exporters.blob import BlobAddress, BlobStore
from exporters.directory import OwnDirectory
from exporters.losses import Losses
from exporters.parking import Parking
from exporters.segment import Segment
from exporters.spool import Spool
from tests.exporters.conftest import StartPipeline
from tests.exporters.sending import CLIENT_LEAVES_SOCKETS, FAST, IMPATIENT, RestartableHub, number_of, record_line
from tests.kit.azurite import names
from tests.kit.hub import wait_until

pytestmark = [CLIENT_LEAVES_SOCKETS, pytest.mark.timeout(600)]  # the first test may have to install Azurite


@pytest.mark.heavy
def test_the_next_instance_sends_what_a_stopping_one_could_not(
    own_hub: RestartableHub, pipeline: StartPipeline, address: BlobAddress, container: ContainerClient
) -> None:
    """With a hub that hangs, a stop moves everything from disk to the container; the next instance sends all of it."""
    dying = pipeline(IMPATIENT, open_blobs=address.connect)
    dying.append(3)
    dying.wait_sent()
    own_hub.broker.set_faults(hold_acks=True)
    for _ in range(4):
        dying.append(5)
    wait_until(lambda: own_hub.broker.stats()["acks_held"] != 0)
    assert dying.sender.stop(60)
    assert not dying.runs
    assert len(names(container)) >= 4  # one more if the sender sealed one between two appends
    own_hub.broker.clear_faults()
    pipeline(open_blobs=address.connect)
    wait_until(lambda: names(container) == [] and own_hub.numbers() == list(range(23)))


@pytest.mark.heavy
def test_acknowledged_records_are_not_parked(
    own_hub: RestartableHub, pipeline: StartPipeline, address: BlobAddress, container: ContainerClient
) -> None:
    """Of a segment that was being sent, only the lines that the hub has not acknowledged are parked."""
    dying = pipeline(IMPATIENT, started=False, open_blobs=address.connect)
    dying.append(900, content="." * 900)
    dying.sender.start()
    wait_until(lambda: dying.sender.sent > 0)
    own_hub.broker.set_faults(hold_acks=True)
    wait_until(lambda: dying.failures > 0 or not dying.spool.backlog().records)
    assert dying.sender.stop(60)
    sent = dying.sender.sent
    parked = [container.download_blob(name).readall() for name in names(container)]
    assert sum(len(content.splitlines()) for content in parked) == 900 - sent


@pytest.mark.heavy
def test_a_stop_without_a_hub_parks_immediately(
    own_hub: RestartableHub, pipeline: StartPipeline, address: BlobAddress, container: ContainerClient
) -> None:
    """A stopping instance does not retry a hub that is down: its time is short, and the container works."""
    dying = pipeline(open_blobs=address.connect)
    own_hub.kill()
    for _ in range(3):
        dying.append(5)
    wait_until(lambda: dying.failures >= 1)
    assert dying.sender.stop(600)
    assert len(names(container)) >= 3


def test_records_that_cannot_be_parked_stay(
    own_hub: RestartableHub, pipeline: StartPipeline, unreachable: BlobAddress
) -> None:
    """Without hub and Blob Storage the records stay on disk, and the thread ends within its time limit."""
    dying = pipeline(open_blobs=unreachable.connect)
    own_hub.kill()
    dying.append(5)
    wait_until(lambda: dying.failures >= 1)
    assert not dying.sender.stop(4)
    assert dying.spool.backlog().records == 5
    assert list(dying.own.path().glob("*.ndjson"))


class Instance:
    """A spool without a sender, which only parks and imports."""

    def __init__(self, directory: Path, address: BlobAddress) -> None:
        self.own = OwnDirectory(directory)
        self.losses = Losses()
        self.spool = Spool(self.own, 1 << 30, self.losses)
        self._address = address

    def run(self, action: Callable[[Parking], Any]) -> None:
        async def connected() -> None:
            store = self._address.connect()
            try:
                await action(Parking(self.spool, store, self.losses))
            finally:
                await store.close()

        asyncio.run(connected())

    def park(self, *lines: bytes) -> None:
        for one in lines:
            assert self.spool.append(one)
        self.spool.seal()
        self.run(lambda parking: parking.park_all(_none_done))

    def import_parked(self) -> None:
        self.run(Parking.import_parked)

    def held(self) -> list[bytes]:
        found: list[bytes] = []
        while (segment := self.spool.claim()) is not None:
            found += map(bytes, segment.lines()[0])
            self.spool.acknowledge(segment)
        return found


def _none_done(segment: Segment) -> int:
    return 0


@pytest.mark.heavy
def test_a_torn_line_is_not_parked(tmp_path: Path, address: BlobAddress, container: ContainerClient) -> None:
    """It is dropped and counted; the records before it are parked."""
    dying = Instance(tmp_path / "dying", address)
    whole = record_line(0)
    assert dying.spool.append(whole)
    dying.spool.seal()
    (segment,) = dying.own.path().glob("*.ndjson")
    segment.write_bytes(segment.read_bytes() + record_line(1)[:-20])
    dying.park()
    other = Instance(tmp_path / "other", address)
    other.import_parked()
    assert other.held() == [whole]
    assert dying.losses.by_reason() == {"torn_line": 1}


@pytest.mark.heavy
def test_a_segment_that_cannot_be_parked_does_not_stop_the_rest(
    tmp_path: Path, address: BlobAddress, container: ContainerClient
) -> None:
    """A segment that cannot be read stays, one that was removed is counted, and the others are parked."""
    dying = Instance(tmp_path / "dying", address)
    lines = [record_line(number) for number in range(4)]
    for one in lines:
        assert dying.spool.append(one)
        dying.spool.seal()
    unreadable, removed, *_ = sorted(dying.own.path().glob("*.ndjson"))
    for path in (unreadable, removed):
        path.rename(path.with_suffix(".away"))
    unreadable.mkdir()
    dying.park()
    assert (len(names(container)), dying.losses.by_reason()) == (2, {"spool_removed": 1})
    unreadable.rmdir()
    unreadable.with_suffix(".away").rename(unreadable)
    assert dying.spool.backlog().records == 1
    assert dying.held() == lines[:1]


@pytest.mark.heavy
def test_a_leased_blob_counts_as_parked(tmp_path: Path, address: BlobAddress, container: ContainerClient) -> None:
    """A segment whose blob exists and is leased need not be stored: the holder of the lease sends it."""
    dying = Instance(tmp_path / "dying", address)
    assert dying.spool.append(record_line(0))
    dying.spool.seal()
    (segment,) = dying.own.path().glob("*.ndjson")
    container.create_container()
    blob = container.upload_blob(f"pending/{segment.name}", segment.read_bytes())
    blob.acquire_lease(60)
    dying.park()
    assert (dying.spool.backlog().records, dying.losses.by_reason()) == (0, {})
    assert names(container) == [f"pending/{segment.name}"]


@pytest.mark.heavy
def test_a_parked_segment_is_imported_once(tmp_path: Path, address: BlobAddress, container: ContainerClient) -> None:
    """Of instances that import at the same time, each parked segment goes to one."""
    parking = Instance(tmp_path / "dying", address)
    lines = [record_line(number) for number in range(12)]
    for one in lines:
        parking.park(one)
    importing = [Instance(tmp_path / str(number), address) for number in range(3)]
    threads = [threading.Thread(target=instance.import_parked) for instance in importing]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held = [one for instance in importing for one in instance.held()]
    assert sorted(held) == sorted(lines)
    assert names(container) == []


@pytest.mark.heavy
def test_a_leased_segment_is_skipped(tmp_path: Path, address: BlobAddress, container: ContainerClient) -> None:
    """A segment that another instance has leased is skipped until the lease ends, as when that instance dies."""
    Instance(tmp_path / "dying", address).park(record_line(0))
    (name,) = names(container)
    lease = container.get_blob_client(name).acquire_lease(60)
    importing = Instance(tmp_path / "importing", address)
    importing.import_parked()
    assert importing.held() == []
    lease.break_lease(0)
    importing.import_parked()
    assert len(importing.held()) == 1


@pytest.mark.heavy
def test_a_foreign_blob_does_not_stop_the_rest(
    tmp_path: Path, address: BlobAddress, container: ContainerClient
) -> None:
    """A blob that is not a segment stays where it is; the segments after it are imported."""
    Instance(tmp_path / "dying", address).park(record_line(0))
    container.upload_blob("pending/0-notes.txt", b"not a segment")
    importing = Instance(tmp_path / "importing", address)
    importing.import_parked()
    assert len(importing.held()) == 1
    assert names(container) == ["pending/0-notes.txt"]


@pytest.mark.heavy
def test_a_name_that_exists_is_not_overwritten(
    tmp_path: Path, address: BlobAddress, container: ContainerClient
) -> None:
    """A parked segment with the name of a local one is imported under another name."""
    Instance(tmp_path / "dying", address).park(record_line(0))
    (name,) = names(container)
    importing = Instance(tmp_path / "importing", address)
    importing.spool.import_segment(name.removeprefix("pending/"), record_line(1) + b"\n")
    importing.import_parked()
    assert sorted(number_of(json.loads(one)) for one in importing.held()) == [0, 1]


@pytest.mark.heavy
def test_a_full_disk_leaves_a_segment_parked(
    tmp_path: Path, address: BlobAddress, container: ContainerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays in the container, for another instance or for later."""
    Instance(tmp_path / "dying", address).park(record_line(0))
    importing = Instance(tmp_path / "importing", address)

    def full(name: str, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(importing.spool, "import_segment", full)
    importing.import_parked()
    assert len(names(container)) == 1


@pytest.mark.heavy
def test_nothing_is_imported_while_the_hub_is_down(
    own_hub: RestartableHub,
    pipeline: StartPipeline,
    tmp_path: Path,
    address: BlobAddress,
    container: ContainerClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While the hub fails, an instance leaves parked segments where they are safe."""
    begun: list[str] = []
    ended: list[str] = []

    def watched() -> BlobStore:
        store = address.connect()
        search = store.parked

        async def parked() -> list[str]:
            begun.append("search")
            try:
                return await search()
            finally:
                ended.append("search")

        monkeypatch.setattr(store, "parked", parked)
        return store

    own_hub.kill()
    living = pipeline(replace(FAST, look_for_parked_every=0.05), open_blobs=watched)
    living.append(1)
    wait_until(lambda: living.failures >= 1 and len(begun) == len(ended))
    Instance(tmp_path / "dying", address).park(record_line(1))
    failures, searches = living.failures, len(begun)
    wait_until(lambda: living.failures >= failures + 5)
    assert len(begun) == searches
    assert len(names(container)) == 1
    own_hub.restart()
    wait_until(lambda: names(container) == [] and sorted(own_hub.numbers()) == [0, 1])
