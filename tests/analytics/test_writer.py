"""The writer: recovery after a kill, overlapping batches, repeats, and merging of small files."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from analytics.capture import CapturedEvent
from analytics.consume.intake import Batch, Intake
from analytics.consume.lock import LockLost
from analytics.consume.merge import FAN, merge
from analytics.consume.writer import CheckpointLost, Writer
from analytics.folder import LocalFolder
from analytics.table import Part, current, parts
from tests.analytics.kit import HOUR, START, line, rows

CUT = -1
"""Stands for the interrupted record of call 0."""


def event(number: int, body: bytes) -> CapturedEvent:
    return CapturedEvent(body, number, "0", START)


def locked() -> bool:
    return True


def batch(first: int, bodies: Sequence[bytes]) -> Batch:
    intake = Intake("0")
    intake.add([event(first + n, body) for n, body in enumerate(bodies)])
    taken = intake.take()
    assert taken
    return taken


def numbered(first: int, last: int) -> Batch:
    """Events whose records have their sequence numbers."""
    return batch(first, [line(number) for number in range(first, last + 1)])


@pytest.fixture
def folder(tmp_path: Path) -> LocalFolder:
    return LocalFolder(tmp_path)


@pytest.fixture
def writer(folder: LocalFolder) -> Writer:
    return Writer(folder, "ab")


def ids(folder: LocalFolder) -> list[int]:
    return [int(row["id"], 16) for row in rows(folder.path, "id")]


def ranges(folder: LocalFolder) -> list[tuple[int, int]]:
    return [(part.first, part.last) for part in sorted(parts(folder))]


def test_recovery_deletes_what_a_killed_writer_left(folder: LocalFolder, writer: Writer) -> None:
    """Files past the checkpoint, and those merged into another, are deleted; other streams' files stay."""
    writer.write(numbered(0, 4), -1, locked)
    writer.write(batch(5, [line(5), b"{"]), 4, locked)
    writer.write(batch(7, [line(7), b"{"]), 6, locked)
    Writer(folder, "cd").write(numbered(90, 99), 89, locked)
    merged = (folder.path / Part(HOUR, "ab", "0", 0, 4).name).read_bytes()
    folder.write(Part(HOUR, "ab", "0", 0, 6).name, memoryview(merged))
    assert writer.recover("0", 6, 7, locked) == set()
    assert ranges(folder) == [(0, 6), (90, 99)]
    assert [file.name for file in folder.path.glob("_set_aside/*")] == ["ab-0-000000000000005-000000000000006.jsonl"]


def test_files_of_a_killed_owner_do_not_count(folder: LocalFolder, writer: Writer) -> None:
    """A consumer that owned the partition for a moment and was killed before its checkpoint leaves rows that the next
    owner deletes: the current writer neither takes them for repeats nor merges them."""
    writer.write(numbered(0, 9), -1, locked)
    writer.write(numbered(10, 19), 9, locked)  # by the killed owner
    assert writer.write(numbered(10, 12), 9, locked).records == 3
    assert ranges(folder) == [(0, 9), (10, 12)]
    writer.write(batch(13, [line(13)]), 12, locked)
    assert merge(folder, HOUR, "ab", "0", 12, closed=True) == 2
    assert writer.recover("0", 12, 13, locked) == set()
    assert ids(folder) == list(range(13))


@pytest.mark.parametrize(
    ("position", "next_event"),
    [(-1, 0), (3, 4), (-1, 10), (4, 8)],
    ids=["none", "out of date", "none, and events expired", "events expired since"],
)
def test_recovery_refuses_a_lost_checkpoint(
    folder: LocalFolder, writer: Writer, position: int, next_event: int
) -> None:
    """Files that no killed writer can have left, or that the hub cannot deliver again, stay: CheckpointLost."""
    writer.write(numbered(0, 4), -1, locked)
    writer.write(numbered(5, 9), 4, locked)
    with pytest.raises(CheckpointLost, match="of partition 0, past its checkpoint"):
        writer.recover("0", position, next_event, locked)
    assert ids(folder) == list(range(10))


def test_recovery_deletes_an_interrupted_first_batch(folder: LocalFolder, writer: Writer) -> None:
    """Even if the hub no longer has the events before it."""
    writer.write(numbered(500, 509), -1, locked)
    assert writer.recover("0", -1, 500, locked) == set()
    assert parts(folder) == {}


def test_events_before_the_checkpoint_are_skipped(folder: LocalFolder, writer: Writer) -> None:
    """Of a batch that starts before the checkpoint only the events past it are written, none if it ends there."""
    writer.write(numbered(0, 9), -1, locked)
    assert writer.write(numbered(4, 9), 9, locked).records == 0
    done = writer.write(batch(5, [*(line(n) for n in range(5, 12)), b"{"]), 9, locked)
    assert (done.records, done.repeats, done.aside) == (2, 0, 1)
    assert ranges(folder) == [(0, 9), (10, 12)]
    assert ids(folder) == list(range(12))


def test_nothing_is_written_without_the_lock(folder: LocalFolder, writer: Writer) -> None:
    """A writer that has lost the table's lock stops before its next file."""
    with pytest.raises(LockLost):
        writer.write(numbered(0, 3), -1, lambda: False)
    assert parts(folder) == {}


def test_intake_skips_events_delivered_again() -> None:
    """After a reconnect the client delivers events twice: the intake recognises them by sequence number."""
    intake = Intake("0")
    intake.add([event(n, line(n)) for n in range(5)])
    intake.add([event(n, line(n)) for n in range(3, 8)])
    taken = intake.take()
    assert taken
    assert (taken.first, taken.last, taken.rows.num_rows) == (0, 7, 8)
    intake.add([event(n, line(n)) for n in range(6, 8)])
    assert intake.take() is None


def small_files(folder: LocalFolder, writer: Writer, count: int) -> None:
    for number in range(count):
        writer.write(numbered(number, number), number - 1, locked)


def test_small_files_are_merged(folder: LocalFolder, writer: Writer) -> None:
    """Sixteen small files become one, fewer stay; the rows are the same, each once."""
    small_files(folder, writer, FAN - 1)
    assert merge(folder, HOUR, "ab", "0") == 0
    writer.write(numbered(FAN - 1, FAN - 1), FAN - 2, locked)
    assert merge(folder, HOUR, "ab", "0") == FAN
    assert ranges(folder) == [(0, FAN - 1)]
    assert ids(folder) == list(range(FAN))


def test_a_closed_hour_is_merged_into_one_file(folder: LocalFolder, writer: Writer) -> None:
    """Whatever the number of its files; another stream's files stay."""
    small_files(folder, writer, 3)
    Writer(folder, "cd").write(numbered(50, 50), 49, locked)
    assert merge(folder, HOUR, "ab", "0", closed=True) == 3
    assert ranges(folder) == [(0, 2), (50, 50)]
    assert merge(folder, HOUR, "ab", "0", closed=True) == 0


def test_each_row_counts_once_after_a_kill_while_merging(
    folder: LocalFolder, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the merged file written and some parts left, each row counts once; the next start deletes the parts."""
    small_files(folder, writer, 4)
    deleted: list[str] = []

    def delete(name: str) -> None:
        deleted.append(name)
        if len(deleted) == 2:
            raise KeyboardInterrupt
        (folder.path / name).unlink()

    monkeypatch.setattr(folder, "delete", delete)
    with pytest.raises(KeyboardInterrupt):
        merge(folder, HOUR, "ab", "0", closed=True)
    monkeypatch.undo()
    assert len(parts(folder)) == 4
    assert ids(folder) == list(range(4))
    assert writer.recover("0", 3, 4, locked) == set()
    assert list(parts(folder)) == current(parts(folder)) == [Part(HOUR, "ab", "0", 0, 3)]


@pytest.mark.parametrize(
    "batches",
    [[[CUT, 1], [2, 0]], [[0, 1], [CUT, 2]], [[CUT, 1, 2, 0, CUT]], [[0, 1, 2, CUT]]],
    ids=["interrupted first", "finished first", "together", "together, finished first"],
)
@pytest.mark.parametrize("merged", [False, True], ids=["unmerged", "merged"])
def test_a_finished_record_replaces_an_interrupted_one(
    folder: LocalFolder, writer: Writer, batches: list[list[int]], merged: bool
) -> None:
    """Whichever comes first, and even if the interrupted one is in a merged file by then."""
    next_event = 0
    for numbers in batches:
        bodies = [line(0, status="interrupted", usage=None) if number == CUT else line(number) for number in numbers]
        writer.write(batch(next_event, bodies), next_event - 1, locked)
        writer.write(batch(next_event + len(bodies), [line(7 + next_event)]), next_event + len(bodies) - 1, locked)
        next_event += len(bodies) + 1
        if merged:
            merge(folder, HOUR, "ab", "0", closed=True)
    found = rows(folder.path, "id, status")
    assert ids(folder)[:3] == [0, 1, 2]
    assert len(found) == 3 + len(batches)
    assert {row["status"] for row in found} == {"completed"}
