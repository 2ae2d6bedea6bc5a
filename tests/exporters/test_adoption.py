"""Adoption: what a dead process left is taken over once, by one; what a living one has is left alone."""

import fcntl
import json
import os
import signal
import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exporters.lock import DirectoryLock
from exporters.segment import segment_name
from tests.exporters.owner import Owner, a_line, adopted_by_next, child, segments, stored
from tests.kit.hub import wait_until

RACER = """
owner = Owner(Path(sys.argv[1]), segment_bytes=500)
print("ready", flush=True)
sys.stdin.readline()
taken = owner.adopt()
for number in range(20):
    taken += owner.adopt()
    assert owner.spool.append(a_line(f"own_{sys.argv[2]}_{number}"))
print(taken, owner.lost, owner.spool.backlog().records, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def ids(lines: list[bytes]) -> list[str]:
    return [json.loads(line)["id"] for line in lines]


def a_dead_one(root: Path, name: str, calls: int = 0, records: int = 3) -> Owner:
    """A process that was killed, with records in several segments and calls in flight."""
    dead = Owner(root, segment_bytes=200)
    for number in range(records):
        assert dead.spool.append(a_line(f"{name}_{number}", "x" * 90))
    for number in range(calls):
        dead.journal.begin(f"{name}_call_{number}", a_line(f"{name}_call_{number}"))
    dead.crash()
    return dead


def test_six_processes_at_once_adopt_each_directory_once(root: Path) -> None:
    """Workers that start together over eight dead directories: each is taken by one of them, every record and every
    call in flight is there exactly once, and what they write meanwhile is lost to none of them."""
    for number in range(8):
        a_dead_one(root, f"dead{number}", calls=3, records=15)
    started = [child(RACER, root, number) for number in range(6)]
    racers = [one.__enter__() for one in started]
    try:
        for racer in racers:
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            racer.stdin.write("\n")
            racer.stdin.flush()
        said = [racer.stdout.readline().split(" ") for racer in racers]
        assert sum(int(taken) for taken, _, _ in said) == 8
        assert {lost for _, lost, _ in said} == {"{}"}
        assert sum(int(records) for _, _, records in said) == 8 * 18 + 6 * 20
        left = stored(root)
    finally:
        for one in started:
            one.__exit__(None, None, None)
    assert len(list(root.glob("*.lock"))) == 6
    found = adopted_by_next(root)
    assert Counter(found) == left
    dead = [f"dead{d}_{n}" for d in range(8) for n in range(15)] + [
        f"dead{d}_call_{n}" for d in range(8) for n in range(3)
    ]
    assert sorted(ids(found)) == sorted([*dead, *(f"own_{r}_{n}" for r in range(6) for n in range(20))])
    assert list(root.iterdir()) == []


def test_a_living_process_is_left_alone(root: Path) -> None:
    """However often others look: a process that writes and sends keeps every file it has until it dies."""
    code = """
owner = Owner(Path(sys.argv[1]), segment_bytes=300)
owner.journal.begin("call", a_line("call"))
for number in range(400):
    assert owner.spool.append(a_line(f"{number:03d}"))
    if number % 7 == 0 and (segment := owner.spool.claim()):
        owner.spool.acknowledge(segment) if segment.lines()[0] else print("gone")
print(owner.lost, owner.spool.backlog().records, flush=True)
sys.stdin.readline()
"""
    other = Owner(root)
    with child(code, root) as process:
        said: list[str] = []
        listening = threading.Thread(target=lambda: said.append(process.stdout.readline()))
        listening.start()
        while listening.is_alive():
            assert other.adopt() == 0
        listening.join()
        lost, records = said[0].split(" ")
        assert lost == "{}"
        assert sum(stored(root).values()) == int(records) > 0
        assert other.adopt() == 0
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        assert other.adopt() == 1
    assert len(other.drain()) == int(records) + 1
    other.close()


def test_a_process_id_means_nothing(root: Path) -> None:
    """A dead directory named by the id of a process that lives, our own or any other, is adopted all the same."""
    for number, pid in enumerate((os.getpid(), 1, os.getppid())):
        dead = a_dead_one(root, str(pid), records=1)
        renamed = f"{pid}-{number:032x}"
        dead.directory._lock.path.rename(root / f"{renamed}.lock")
        dead.directory._lock.directory.rename(root / renamed)
    owner = Owner(root)
    assert owner.spool.append(a_line("own"))
    assert owner.adopt() == 3
    assert len(owner.drain()) == 4
    owner.close()


def test_starting_while_others_look_costs_nothing(root: Path) -> None:
    """A directory that is being made is never taken for a dead one: the first record of a process is kept, however
    busily others adopt."""
    stop, watcher = threading.Event(), Owner(root)

    def look() -> None:
        while not stop.is_set():
            assert watcher.adopt() == 0

    looking = [threading.Thread(target=look) for _ in range(2)]
    for thread in looking:
        thread.start()
    try:
        for number in range(150):
            owner = Owner(root)
            assert owner.spool.append(a_line(str(number))), owner.lost
            assert len(owner.drain()) == 1
            owner.close()
    finally:
        stop.set()
        for thread in looking:
            thread.join()
    assert watcher.lost == {}
    assert list(root.iterdir()) == []


def test_a_lock_that_went_meanwhile_guards_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner removed the file between our opening and our locking it: that is no lock of a dead process."""
    dead = a_dead_one(root, "dead")
    path, flock = dead.directory._lock.path, fcntl.flock

    def overtaken(fd: int, operation: int) -> None:
        path.unlink()
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", overtaken)
    assert DirectoryLock.take(path) is None
    assert DirectoryLock.take(path) is None


def test_what_is_older_goes_first(root: Path) -> None:
    """Adopted segments take the place their age gives them, before those that this process has begun since."""
    a_dead_one(root, "first")
    second = Owner(root)
    second.spool.append(a_line("second"))
    second.spool.seal()
    a_dead_one(root, "third")
    second.spool.append(a_line("fourth"))
    assert second.adopt() == 2
    assert ids(second.drain()) == [
        *("first_0", "first_1", "first_2"),
        "second",
        *("third_0", "third_1", "third_2"),
        "fourth",
    ]
    second.close()


def test_a_finished_call_is_not_interrupted_too(root: Path) -> None:
    """The process died between a call's record and the end of its call: the record counts, in whichever segment."""
    dead = Owner(root, segment_bytes=100)
    for name in ("1", "2", "3"):
        dead.journal.begin(name, a_line(name, "interrupted"))
    for name in ("1", "2"):
        dead.spool.append(a_line(name, "x" * 100))
    dead.crash()
    owner = Owner(root)
    assert owner.adopt() == 1
    assert owner.spool.backlog().records == 3
    assert owner.drain() == [a_line("1", "x" * 100), a_line("2", "x" * 100), a_line("3", "interrupted")]
    owner.close()


def test_an_interrupted_record_is_dated_by_its_adoption(root: Path) -> None:
    """The timestamp of an interrupted record is when it was found, and nothing else in it is changed."""
    undated = a_line("1").replace(b',"prompt"', b',"timestamp":"0000-00-00T00:00:00.000000","prompt"')
    dead = Owner(root)
    dead.journal.begin("1", undated)
    dead.crash()
    before = datetime.now(UTC).replace(tzinfo=None)
    (line,) = adopted_by_next(root)
    found = json.loads(line)
    assert before <= datetime.fromisoformat(found["timestamp"]) <= datetime.now(UTC).replace(tzinfo=None)
    assert {**found, "timestamp": "0000-00-00T00:00:00.000000"} == json.loads(undated)


def test_segments_of_one_name_do_not_replace_each_other(root: Path) -> None:
    """Processes that began a segment in the same nanosecond: all are kept, be the living one's open or sealed."""
    owners = [Owner(root, clock_ns=lambda: 10**18) for _ in range(4)]
    for number, owner in enumerate(owners):
        for part in ("a", "b"):
            owner.spool.append(a_line(f"{number}{part}"))
            if part == "a" or number % 2:
                owner.spool.seal()
    *dead, heir = owners
    for owner in dead:
        owner.crash()
    assert heir.adopt() == 3
    assert heir.spool.append(a_line("3c"))
    assert sum(stored(root).values()) == 9
    found = ids(heir.drain())
    assert sorted(found) == ["0a", "0b", "1a", "1b", "2a", "2b", "3a", "3b", "3c"]
    for number in range(4):
        own = [name for name in found if name.startswith(str(number))]
        assert own == sorted(own)
    heir.close()


def test_an_adoption_that_fails_half_way_loses_nothing(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What was moved before the fault is this process's to send, and is there for the next if it dies; the rest is
    tried again."""
    dead = a_dead_one(root, "dead", records=6)
    directory = dead.directory._lock.directory
    sealed = segments(root)
    in_the_way = directory / (segment_name(int(sealed[1].name[:18], 16), 99_999_999) + ".ndjson")
    in_the_way.mkdir()
    owner = Owner(root)
    assert owner.adopt() == 0
    assert "cannot be adopted" in caplog.text
    moved = owner.spool.backlog().records
    assert 0 < moved < 6
    segment = owner.spool.claim()
    assert segment.lines()[0][0] == a_line("dead_0", "x" * 90)
    owner.crash()
    for path in root.rglob(in_the_way.name):
        path.rmdir()
    found = adopted_by_next(root)
    assert sorted(ids(found)) == [f"dead_{number}" for number in range(6)]
    assert list(root.iterdir()) == []


def test_what_is_empty_is_tidied_away(root: Path) -> None:
    """A lock without a directory, an empty directory, an empty segment: gone, and nothing is made of them."""
    empty, hollow, bare = Owner(root), Owner(root), Owner(root)
    for owner in (empty, hollow, bare):
        assert owner.path.is_dir()
        owner.crash()
    empty_directory, hollow_directory, bare_directory = (o.directory._lock.directory for o in (empty, hollow, bare))
    assert empty_directory.is_dir()
    (hollow_directory / (segment_name(1, 1) + ".open")).touch()
    bare_directory.rmdir()
    owner = Owner(root)
    assert owner.adopt() == 2
    assert owner.spool.claim() is None
    assert list(owner.path.iterdir()) == []
    owner.close()
    assert list(root.iterdir()) == []


def test_the_cap_and_the_calls_of_the_dead(root: Path) -> None:
    """Segments are taken over even past the byte cap, for they are on the disk already; the record of a call in
    flight that the cap refuses is counted, and not tried for ever."""
    a_dead_one(root, "dead", calls=1, records=10)
    owner = Owner(root, max_bytes=500)
    assert owner.adopt() == 1
    assert owner.lost == {"spool_full": 1}
    assert len(owner.drain()) == 10
    assert owner.adopt() == 0
    wait_until(lambda: not segments(root))
    owner.close()
