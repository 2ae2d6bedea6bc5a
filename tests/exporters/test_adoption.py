"""Adoption: the files of a dead process are taken over by one process, once; those of a living one are left alone."""

import fcntl
import os
import signal
import threading
from collections import Counter
from pathlib import Path

import pytest

from exporters.lock import DirectoryLock
from exporters.segment import segment_name
from tests.exporters.owner import Owner, a_line, adopted_by_next, child, ids, segments, stored

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


def a_dead_process(root: Path, name: str, calls: int = 0, records: int = 3) -> Owner:
    """A killed process with records in several segments and calls in flight."""
    dead = Owner(root, segment_bytes=200)
    for number in range(records):
        assert dead.spool.append(a_line(f"{name}_{number}", "x" * 90))
    for number in range(calls):
        dead.journal.begin(f"{name}_call_{number}", a_line(f"{name}_call_{number}"))
    dead.crash()
    return dead


def test_concurrent_processes_adopt_each_directory_once(root: Path) -> None:
    """Six workers start together on eight dead directories: each is adopted by one of them, every record and every call
    in flight is kept exactly once, and no record that they write meanwhile is lost."""
    for number in range(8):
        a_dead_process(root, f"dead{number}", calls=3, records=15)
    started = [child(RACER, root, number) for number in range(6)]
    racers = [one.__enter__() for one in started]
    try:
        for racer in racers:
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            racer.stdin.write("\n")
            racer.stdin.flush()
        results = [racer.stdout.readline().split(" ") for racer in racers]
        assert sum(int(taken) for taken, _, _ in results) == 8
        assert {lost for _, lost, _ in results} == {"{}"}
        assert sum(int(records) for _, _, records in results) == 8 * 18 + 6 * 20
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
    """A process that writes and sends keeps all its files until it dies, however often others try to adopt."""
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
        output: list[str] = []
        reading = threading.Thread(target=lambda: output.append(process.stdout.readline()))
        reading.start()
        while reading.is_alive():
            assert other.adopt() == 0
        reading.join()
        lost, records = output[0].split(" ")
        assert lost == "{}"
        assert sum(stored(root).values()) == int(records) > 0
        assert other.adopt() == 0
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        assert other.adopt() == 1
    assert len(other.drain()) == int(records) + 1
    other.close()


def test_process_ids_are_irrelevant(root: Path) -> None:
    """A dead directory named after the id of a living process, our own or another, is still adopted."""
    for number, pid in enumerate((os.getpid(), 1, os.getppid())):
        dead = a_dead_process(root, str(pid), records=1)
        renamed = f"{pid}-{number:032x}"
        dead.directory._lock.path.rename(root / f"{renamed}.lock")
        dead.directory._lock.directory.rename(root / renamed)
    owner = Owner(root)
    assert owner.spool.append(a_line("own"))
    assert owner.adopt() == 3
    assert len(owner.drain()) == 4
    owner.close()


def test_a_process_that_starts_is_not_adopted(root: Path) -> None:
    """A directory that is being created never looks dead: the first record of a process is kept, however often others
    try to adopt."""
    stop, watcher = threading.Event(), Owner(root)

    def watch() -> None:
        while not stop.is_set():
            assert watcher.adopt() == 0

    watching = [threading.Thread(target=watch) for _ in range(2)]
    for thread in watching:
        thread.start()
    try:
        for number in range(150):
            owner = Owner(root)
            assert owner.spool.append(a_line(str(number))), owner.lost
            assert len(owner.drain()) == 1
            owner.close()
    finally:
        stop.set()
        for thread in watching:
            thread.join()
    assert watcher.lost == {}
    assert list(root.iterdir()) == []


def test_a_lock_file_removed_before_locking_is_no_lock(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If its owner removes the file between our open and our lock, it is not a dead process's lock."""
    dead = a_dead_process(root, "dead")
    path, flock = dead.directory._lock.path, fcntl.flock

    def remove_first(fd: int, operation: int) -> None:
        path.unlink()
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    assert DirectoryLock.take(path) is None
    assert DirectoryLock.take(path) is None


def test_older_segments_go_first(root: Path) -> None:
    """Adopted segments are ordered by age among those of this process."""
    a_dead_process(root, "first")
    second = Owner(root)
    second.spool.append(a_line("second"))
    second.spool.seal()
    a_dead_process(root, "third")
    second.spool.append(a_line("fourth"))
    assert second.adopt() == 2
    assert ids(second.drain()) == [
        *("first_0", "first_1", "first_2"),
        "second",
        *("third_0", "third_1", "third_2"),
        "fourth",
    ]
    second.close()


def test_a_finished_call_has_no_interrupted_record(root: Path) -> None:
    """If the process died between a call's record and its end in the journal, only the record counts, in any
    segment."""
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


def test_segments_of_one_name_do_not_replace_each_other(root: Path) -> None:
    """Processes that created a segment in the same nanosecond: all are kept, whether the living one's is open or
    sealed."""
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


def test_an_adoption_that_fails_halfway_loses_nothing(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """This process sends what was moved before the error, or the next one if it dies; the rest is retried."""
    dead = a_dead_process(root, "dead", records=6)
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


def test_empty_files_are_removed(root: Path) -> None:
    """A lock without a directory, an empty directory and an empty segment are removed, and yield no records."""
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
