"""Segments that a stopping instance parks in Blob Storage, and how others take them on; by a real Azurite."""

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
from tests.exporters.conftest import StartLine
from tests.exporters.sending import CLIENT_LEAVES_SOCKETS, FAST, IMPATIENT, HubInReach, number_of, record_line
from tests.kit.azurite import names
from tests.kit.hub import wait_until

pytestmark = [CLIENT_LEAVES_SOCKETS, pytest.mark.timeout(600)]  # the first test may have to install Azurite


@pytest.mark.heavy
def test_what_a_stopping_instance_could_not_send_any_instance_sends(
    own_hub: HubInReach, line: StartLine, address: BlobAddress, container: ContainerClient
) -> None:
    """With a hub that hangs, a stop leaves the disk empty and the container full; the next instance sends all of it."""
    dying = line(IMPATIENT, open_blobs=address.connect)
    dying.append(3)
    dying.wait_sent()
    own_hub.broker.set_faults(hold_acks=True)
    for _ in range(4):
        dying.append(5)
    wait_until(lambda: own_hub.broker.stats()["acks_held"] != 0)
    assert dying.sender.stop(60)
    assert not dying.runs
    assert len(names(container)) >= 4  # one more, if the sender closed one while it was appended to
    own_hub.broker.clear_faults()
    line(open_blobs=address.connect)
    wait_until(lambda: names(container) == [] and own_hub.numbers() == list(range(23)))


@pytest.mark.heavy
def test_what_the_hub_has_is_not_parked(
    own_hub: HubInReach, line: StartLine, address: BlobAddress, container: ContainerClient
) -> None:
    """Of a segment that was being sent only those lines are parked that the hub has not acknowledged."""
    dying = line(IMPATIENT, started=False, open_blobs=address.connect)
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
def test_the_hub_is_tried_no_more_once_it_fails_a_stopping_instance(
    own_hub: HubInReach, line: StartLine, address: BlobAddress, container: ContainerClient
) -> None:
    """A stop with a hub that is away parks at once: the time is short, and the container is there."""
    dying = line(open_blobs=address.connect)
    own_hub.kill()
    for _ in range(3):
        dying.append(5)
    wait_until(lambda: dying.failures >= 1)
    assert dying.sender.stop(600)
    assert len(names(container)) >= 3


def test_what_cannot_be_parked_stays(own_hub: HubInReach, line: StartLine, unreachable: BlobAddress) -> None:
    """With neither hub nor Blob Storage the records stay on the disk, and the thread ends in its time."""
    dying = line(open_blobs=unreachable.connect)
    own_hub.kill()
    dying.append(5)
    wait_until(lambda: dying.failures >= 1)
    assert not dying.sender.stop(4)
    assert dying.spool.backlog().records == 5
    assert list(dying.own.path().glob("*.ndjson"))


class Instance:
    """A spool without a sender, which only takes in."""

    def __init__(self, directory: Path, address: BlobAddress) -> None:
        self.own = OwnDirectory(directory)
        self.losses = Losses()
        self.spool = Spool(self.own, 1 << 30, self.losses)
        self._address = address

    def run(self, what: Callable[[Parking], Any]) -> None:
        async def connected() -> None:
            store = self._address.connect()
            try:
                await what(Parking(self.spool, store, self.losses))
            finally:
                await store.close()

        asyncio.run(connected())

    def park(self, *lines: bytes) -> None:
        for one in lines:
            assert self.spool.append(one)
        self.spool.seal()
        self.run(lambda parking: parking.park_all(_none_done))

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
    """What a crash left half written is dropped and counted; the records before it are parked."""
    dying = Instance(tmp_path / "dying", address)
    whole = record_line(0)
    assert dying.spool.append(whole)
    dying.spool.seal()
    (segment,) = dying.own.path().glob("*.ndjson")
    segment.write_bytes(segment.read_bytes() + record_line(1)[:-20])
    dying.park()
    other = Instance(tmp_path / "other", address)
    other.run(lambda parking: parking.import_parked())
    assert other.held() == [whole]
    assert dying.losses.by_reason() == {"torn_line": 1}


@pytest.mark.heavy
def test_one_that_cannot_be_parked_does_not_keep_the_rest(
    tmp_path: Path, address: BlobAddress, container: ContainerClient
) -> None:
    """A segment that cannot be read stays, one that was removed is counted, and the others are parked all the same."""
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
def test_what_another_instance_is_taking_counts_as_parked(
    tmp_path: Path, address: BlobAddress, container: ContainerClient
) -> None:
    """A segment whose blob is there and leased need not be stored: who has the lease sends it on."""
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
def test_a_parked_segment_is_taken_by_one(tmp_path: Path, address: BlobAddress, container: ContainerClient) -> None:
    """Instances that take in at the same time share what is parked: each segment goes to one of them."""
    parking = Instance(tmp_path / "dying", address)
    lines = [record_line(number) for number in range(12)]
    for one in lines:
        parking.park(one)
    taking = [Instance(tmp_path / str(number), address) for number in range(3)]
    threads = [
        threading.Thread(target=instance.run, args=(lambda parking: parking.import_parked(),)) for instance in taking
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held = [one for instance in taking for one in instance.held()]
    assert sorted(held) == sorted(lines)
    assert names(container) == []


@pytest.mark.heavy
def test_a_segment_in_other_hands_is_left_to_them(
    tmp_path: Path, address: BlobAddress, container: ContainerClient
) -> None:
    """A segment that another instance holds is passed over; should that one die, its lease ends."""
    Instance(tmp_path / "dying", address).park(record_line(0))
    (name,) = names(container)
    lease = container.get_blob_client(name).acquire_lease(60)
    taking = Instance(tmp_path / "taking", address)
    taking.run(lambda parking: parking.import_parked())
    assert taking.held() == []
    lease.break_lease(0)
    taking.run(lambda parking: parking.import_parked())
    assert len(taking.held()) == 1


@pytest.mark.heavy
def test_what_is_no_segment_does_not_stop_the_rest(
    tmp_path: Path, address: BlobAddress, container: ContainerClient
) -> None:
    """A blob that someone else put among the parked ones is left where it is; those behind it are taken in."""
    Instance(tmp_path / "dying", address).park(record_line(0))
    container.upload_blob("pending/0-notes.txt", b"not a segment")
    taking = Instance(tmp_path / "taking", address)
    taking.run(lambda parking: parking.import_parked())
    assert len(taking.held()) == 1
    assert names(container) == ["pending/0-notes.txt"]


@pytest.mark.heavy
def test_a_name_that_is_taken_destroys_nothing(
    tmp_path: Path, address: BlobAddress, container: ContainerClient
) -> None:
    """A parked segment whose name a segment here has already is taken in beside it."""
    Instance(tmp_path / "dying", address).park(record_line(0))
    (name,) = names(container)
    taking = Instance(tmp_path / "taking", address)
    taking.spool.import_segment(name.removeprefix("pending/"), record_line(1) + b"\n")
    taking.run(lambda parking: parking.import_parked())
    assert sorted(number_of(json.loads(one)) for one in taking.held()) == [0, 1]


@pytest.mark.heavy
def test_a_disk_that_is_full_leaves_it_parked(
    tmp_path: Path, address: BlobAddress, container: ContainerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be put on this disk stays in the container, for another instance or for later."""
    Instance(tmp_path / "dying", address).park(record_line(0))
    taking = Instance(tmp_path / "taking", address)

    def full(name: str, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(taking.spool, "import_segment", full)
    taking.run(lambda parking: parking.import_parked())
    assert len(names(container)) == 1


@pytest.mark.heavy
def test_nothing_is_taken_in_while_the_hub_is_away(
    own_hub: HubInReach,
    line: StartLine,
    tmp_path: Path,
    address: BlobAddress,
    container: ContainerClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An instance whose own records wait leaves the parked ones where they are safe, until its hub is back."""
    begun: list[str] = []
    ended: list[str] = []

    def watched() -> BlobStore:
        store = address.connect()
        look = store.parked

        async def parked() -> list[str]:
            begun.append("look")
            try:
                return await look()
            finally:
                ended.append("look")

        monkeypatch.setattr(store, "parked", parked)
        return store

    own_hub.kill()
    living = line(replace(FAST, look_for_parked_every=0.05), open_blobs=watched)
    living.append(1)
    wait_until(lambda: living.failures >= 1 and len(begun) == len(ended))
    Instance(tmp_path / "dying", address).park(record_line(1))
    failures, looks = living.failures, len(begun)
    wait_until(lambda: living.failures >= failures + 5)
    assert len(begun) == looks
    assert len(names(container)) == 1
    own_hub.restart()
    wait_until(lambda: names(container) == [] and sorted(own_hub.numbers()) == [0, 1])
