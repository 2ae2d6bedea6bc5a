"""The spool's invariants on real files: accepted records are kept, refused ones counted, none torn."""

import json
import os
import signal
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.exporters.owner import Owner, a_line, adopted_by_next, child, open_files, segments, stored
from tests.kit.hub import wait_until


def test_appended_records_survive_sigkill(root: Path) -> None:
    """Every record whose `append` returned True is complete and in order after kill -9 at any moment."""
    code = """
owner, number = Owner(Path(sys.argv[1]), segment_bytes=20_000), 0
while owner.spool.append(a_line(f"{number:032x}", "x" * (number % 3000))):
    print(number, flush=True)
    number += 1
"""
    with child(code, root) as process:
        taken = [int(process.stdout.readline()) for _ in range(200)]
        process.send_signal(signal.SIGKILL)
        taken += [int(line) for line in process.stdout if line.endswith("\n")]
    kept = adopted_by_next(root)
    assert kept[: len(taken)] == [a_line(f"{number:032x}", "x" * (number % 3000)) for number in taken]
    assert len(kept) - len(taken) <= 1
    assert len(taken) >= 200


def test_only_the_owner_can_read_the_spool(root: Path) -> None:
    """Files are 0600 and directories 0700, whatever the umask; a root that others could enter is closed to them."""
    root.mkdir(mode=0o777)
    root.chmod(0o777)
    umask = os.umask(0)
    try:
        owner = Owner(root)
        owner.spool.append(a_line("1"))
        owner.spool.seal()
        owner.spool.append(a_line("2"))
        owner.journal.begin("3", a_line("3"))
        owner.spool.import_segment(f"{1:018x}-00000001.ndjson", a_line("4") + b"\n")
    finally:
        os.umask(umask)
    modes = {(path.suffix, stat.S_IMODE(path.stat().st_mode)) for path in [root, *root.rglob("*")]}
    assert modes == {("", 0o700), (".lock", 0o600), (".ndjson", 0o600), (".open", 0o600), (".call", 0o600)}
    owner.close()


def test_the_size_limit_covers_all_processes(root: Path) -> None:
    """At the limit for the directories of all living processes the newest record is refused; an acknowledged segment
    makes room."""
    line = a_line("1", "x" * 900)
    size = len(line) + 1
    code = """
owner = Owner(Path(sys.argv[1]), max_bytes=int(sys.argv[2]))
for command in sys.stdin:
    owner.adopt()
    print(owner.spool.append(sys.argv[3].encode()), owner.lost.get("spool_full", 0), flush=True)
"""
    with child(code, root, 4 * size, line.decode()) as other:

        def other_appends() -> str:
            other.stdin.write("\n")
            other.stdin.flush()
            return other.stdout.readline()

        owner = Owner(root, max_bytes=4 * size)
        assert other_appends() == "True 0\n"
        assert [owner.spool.append(line) for _ in range(3)] == [True] * 3
        owner.adopt()
        assert not owner.spool.append(line)
        assert owner.lost == {"spool_full": 1}
        assert other_appends() == "False 1\n"
        assert owner.drain() == [line] * 3
        assert other_appends() == "True 1\n"
        owner.adopt()
        assert [owner.spool.append(line) for _ in range(3)] == [True, True, False]
        owner.close()
    assert stored(root) == {line: 4}


class _Clock:
    now = 1_700_000_000 * 10**9

    def __call__(self) -> int:
        return self.now


def test_segments_are_sealed_by_size_and_by_age(root: Path) -> None:
    """A segment is sealed by the record that fills it, or once its first record has that age; also if the clock was set
    back, which does not change the order."""
    clock = _Clock()
    owner = Owner(root, segment_bytes=200, clock_ns=clock)
    spool = owner.spool
    for number in range(3):
        assert spool.claim() is None
        spool.append(a_line(str(number), "x" * 30))
    assert len(spool.claim().lines()[0]) == 3
    assert spool.claim() is None
    spool.append(a_line("3"))
    for age, still_open in ((0.0, 1), (0.999, 1), (1.0, 0)):
        clock.now = _Clock.now + int(age * 1e9)
        spool.seal(1.0)
        assert len(list(root.rglob("*.open"))) == still_open
    for number in (4, 5):
        clock.now -= 3600 * 10**9
        spool.append(a_line(str(number)))
        spool.seal(1.0)
        assert not list(root.rglob("*.open"))
    firsts = [path.read_bytes().split(b"\n")[0] for path in segments(root)]
    assert firsts == [a_line("0", "x" * 30), a_line("3"), a_line("4"), a_line("5")]
    owner.close()


def test_backlog_has_records_bytes_and_age(root: Path) -> None:
    """Records, bytes and the oldest record's age, in every state of a segment, without acknowledged ones."""
    clock = _Clock()
    owner = Owner(root, clock_ns=clock)
    spool, size = owner.spool, len(a_line("1")) + 1
    assert (spool.backlog().records, spool.backlog().oldest_seconds) == (0, 0)
    spool.append(a_line("1"))
    clock.now += 5 * 10**9
    spool.seal()
    spool.append(a_line("2"))
    segment = spool.claim()
    backlog = spool.backlog()
    assert (backlog.records, backlog.bytes, backlog.oldest_seconds) == (2, 2 * size, 5.0)
    spool.acknowledge(segment)
    assert (spool.backlog().records, spool.backlog().oldest_seconds) == (1, 0.0)
    owner.close()


type Synced = list[tuple[int, int]]


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> Synced:
    """Each fsync from now on: the inode and the thread."""
    found: Synced = []
    fsync = os.fsync

    def watched(fd: int) -> None:
        found.append((os.fstat(fd).st_ino, threading.get_ident()))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", watched)
    return found


def test_a_claimed_segment_is_synced(root: Path, synced: Synced) -> None:
    """The thread that claims a segment fsyncs it: an append never waits for the disk."""
    owner = Owner(root, segment_bytes=1)
    adding = threading.Thread(target=owner.spool.append, args=(a_line("1"),))
    adding.start()
    adding.join()
    assert synced == []
    segment = owner.spool.claim()
    assert synced == [(segment.path.stat().st_ino, threading.get_ident())]
    owner.close()


def test_sync_covers_all_waiting_records(root: Path, synced: Synced) -> None:
    """`sync` fsyncs every segment with new records, also the open one, and closes the files of sealed ones."""
    owner = Owner(root, segment_bytes=100)
    for line in (b"x" * 200, b"x" * 200, b"x"):
        assert owner.spool.append(line)
    assert len(open_files(root)) == 3
    for _ in range(2):
        owner.spool.sync()
    assert owner.spool.append(b"x")
    owner.spool.sync()
    first, second, opened = (path.stat().st_ino for path in segments(root))
    assert [inode for inode, _ in synced] == [first, second, opened, opened]
    assert open_files(root) == segments(root)[2:]
    owner.close()


def test_a_segment_is_imported_once_under_its_name(root: Path) -> None:
    """A name that is not a segment's, or that exists, is refused."""
    owner = Owner(root)
    content = a_line("1") + b"\n" + a_line("2") + b"\n"
    name = f"{7:018x}-00000003.ndjson"
    owner.spool.import_segment(name, content)
    for wrong in (name, "../1.ndjson", "notes.txt", "1-1.ndjson"):
        with pytest.raises(OSError, match=r"exists|not the name of a segment"):
            owner.spool.import_segment(wrong, content)
    assert owner.drain() == [a_line("1"), a_line("2")]
    owner.close()


def test_threads_append_complete_lines(root: Path) -> None:
    """The records of many threads are all kept, none within another, each thread's in order, while a sender claims
    them."""
    owner, sent = Owner(root, segment_bytes=5000), []
    stop = threading.Event()

    def add(thread: int) -> None:
        for number in range(300):
            assert owner.spool.append(a_line(f"{thread}_{number:03d}", "x" * (number * 7 % 500)))

    def send() -> Any:
        while not stop.is_set():
            sent.extend(owner.drain())

    adding = [threading.Thread(target=add, args=(thread,)) for thread in range(6)]
    sending = threading.Thread(target=send)
    for one in (*adding, sending):
        one.start()
    for one in adding:
        one.join()
    wait_until(lambda: not owner.spool.backlog().records)
    stop.set()
    sending.join()
    ids = [json.loads(line)["id"] for line in sent]
    assert sorted(ids) == [f"{thread}_{number:03d}" for thread in range(6) for number in range(300)]
    for thread in range(6):
        own = [name for name in ids if name.startswith(f"{thread}_")]
        assert own == sorted(own)
    owner.close()
