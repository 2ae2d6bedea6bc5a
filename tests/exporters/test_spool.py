"""The spool's promises, on real files: what was taken is kept, what cannot be taken is counted, nothing is torn."""

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


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def test_what_was_appended_survives_sigkill(root: Path) -> None:
    """Every record whose append returned True is found whole and in order after kill -9 in mid-work."""
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


def test_a_torn_line_is_told_and_dropped(root: Path) -> None:
    """A record cut off in mid-write was never promised: it is not among the lines, and its bytes are told."""
    owner = Owner(root)
    assert owner.spool.append(a_line("1"))
    owner.crash()
    with segments(root)[0].open("ab") as file:
        file.write(a_line("2")[:-9])
    heir = Owner(root)
    assert heir.adopt() == 1
    segment = heir.spool.claim()
    lines, torn = segment.lines()
    assert (list(map(bytes, lines)), torn) == ([a_line("1")], len(a_line("2")) - 9)
    assert heir.spool.backlog().records == 1
    heir.spool.acknowledge(segment)
    assert heir.spool.backlog().bytes == 0
    heir.close()


def test_only_its_user_can_read_it(root: Path) -> None:
    """Files are 0600 and directories 0700, whatever the umask; a root that others can enter is closed to them."""
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


def test_the_cap_counts_what_all_processes_hold(root: Path) -> None:
    """At the byte cap over the directories of all living processes the newest record is refused; an acknowledged
    segment makes room."""
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
    """A segment is closed by the record that fills it, or once its first record is of an age; also when the clock has
    been set back, which changes no order."""
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


def test_backlog_tells_what_waits_and_since_when(root: Path) -> None:
    """Records, bytes and the age of the oldest, in every state of a segment; nothing of what was acknowledged."""
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


def test_what_was_given_back_is_the_next_whatever_came_in(root: Path) -> None:
    """A segment that was half sent is claimed again before older ones adopted meanwhile: its sender counts on it."""
    dead, owner = Owner(root), Owner(root)
    dead.spool.append(a_line("old"))
    owner.spool.append(a_line("new"))
    owner.spool.seal()
    segment = owner.spool.claim()
    assert owner.spool.claim() is None
    dead.crash()
    owner.spool.give_back(segment)
    assert owner.adopt() == 1
    assert owner.spool.claim() is segment
    owner.spool.acknowledge(segment)
    assert owner.drain() == [a_line("old")]
    owner.close()


type Synced = list[tuple[int, int]]


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> Synced:
    """What is fsynced from now on, by inode, and by which thread."""
    found: Synced = []
    fsync = os.fsync

    def watched(fd: int) -> None:
        found.append((os.fstat(fd).st_ino, threading.get_ident()))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", watched)
    return found


def test_a_segment_is_on_the_disk_before_it_is_claimed(root: Path, synced: Synced) -> None:
    """A sealed segment is fsynced, and by the thread that claims it: an append never waits for the disk."""
    owner = Owner(root, segment_bytes=1)
    adding = threading.Thread(target=owner.spool.append, args=(a_line("1"),))
    adding.start()
    adding.join()
    assert synced == []
    segment = owner.spool.claim()
    assert synced == [(segment.path.stat().st_ino, threading.get_ident())]
    owner.close()


def test_what_waits_is_on_the_disk_too(root: Path, synced: Synced) -> None:
    """`sync` fsyncs every segment that has something new, also the open one, and keeps no sealed one's file open."""
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


def test_after_close_nothing_is_taken(root: Path) -> None:
    """A record that comes after the spool was closed is counted; what was taken before is left for the next."""
    owner = Owner(root)
    owner.spool.append(a_line("1"))
    owner.close()
    assert not owner.spool.append(a_line("2"))
    assert owner.lost == {"after_close": 1}
    assert adopted_by_next(root) == [a_line("1")]
    assert list(root.iterdir()) == []


def test_a_foreign_segment_is_taken_once_and_by_its_name(root: Path) -> None:
    """A segment from elsewhere is whole on disk under its name; what has no segment's name, or is there, is refused."""
    owner = Owner(root)
    content = a_line("1") + b"\n" + a_line("2") + b"\n"
    name = f"{7:018x}-00000003.ndjson"
    owner.spool.import_segment(name, content)
    for wrong in (name, "../1.ndjson", "notes.txt", "1-1.ndjson"):
        with pytest.raises(OSError, match=r"exists|not the name of a segment"):
            owner.spool.import_segment(wrong, content)
    assert owner.drain() == [a_line("1"), a_line("2")]
    owner.close()


def test_threads_append_whole_lines(root: Path) -> None:
    """Records of many threads are all there, none inside another, those of one thread in their order; meanwhile a
    sender takes them away."""
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
