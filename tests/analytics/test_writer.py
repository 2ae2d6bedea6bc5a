"""Batches into files: what is left of a killed writer, batches that overlap, and many small files."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from azure.eventhub.amqp import AmqpMessageBodyType

from analytics.consume.intake import Batch, Intake
from analytics.consume.lock import LockLost
from analytics.consume.merge import FAN, merge
from analytics.consume.writer import CheckpointLost, Writer
from analytics.folder import LocalFolder
from analytics.table import Part, current, parts
from tests.analytics.kit import line, rows

HOUR = "day=2024-11-13/hour=06"


@dataclass
class Event:
    """What an intake needs of an event."""

    sequence_number: int
    body: bytes
    offset: str = "0"
    enqueued_time: datetime = datetime(2024, 11, 13, tzinfo=UTC)
    body_type: AmqpMessageBodyType = AmqpMessageBodyType.DATA


def held() -> bool:
    return True


def batch(first: int, bodies: Sequence[bytes]) -> Batch:
    intake = Intake("0")
    intake.add([Event(first + n, body) for n, body in enumerate(bodies)])
    taken = intake.take()
    assert taken
    return taken


def numbered(first: int, last: int) -> Batch:
    """Events whose records are numbered as they are."""
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


def test_what_a_killed_writer_left_is_deleted(folder: LocalFolder, writer: Writer) -> None:
    """Files past the checkpoint, and those that were merged into another, go; what is another's stays."""
    writer.write(numbered(0, 4), -1, held)
    writer.write(batch(5, [line(5), b"{"]), 4, held)
    writer.write(batch(7, [line(7), b"{"]), 6, held)
    Writer(folder, "cd").write(numbered(90, 99), 89, held)
    merged = (folder.path / Part(HOUR, "ab", "0", 0, 4).name).read_bytes()
    folder.write(Part(HOUR, "ab", "0", 0, 6).name, memoryview(merged))
    assert writer.recover("0", 6, 7, held) == set()
    assert ranges(folder) == [(0, 6), (90, 99)]
    assert [file.name for file in folder.path.glob("_set_aside/*")] == ["ab-0-000000000000005-000000000000006.jsonl"]


def test_what_another_left_meanwhile_does_not_count(folder: LocalFolder, writer: Writer) -> None:
    """A consumer that had the partition for a moment and was killed before its checkpoint leaves rows that the next
    owner deletes: the one that writes now must not take them for held, nor merge them."""
    writer.write(numbered(0, 9), -1, held)
    writer.write(numbered(10, 19), 9, held)  # by the one that was killed
    assert writer.write(numbered(10, 12), 9, held).records == 3
    assert ranges(folder) == [(0, 9), (10, 12)]
    writer.write(batch(13, [line(13)]), 12, held)
    assert merge(folder, HOUR, "ab", "0", 12, closed=True) == 2
    assert writer.recover("0", 12, 13, held) == set()
    assert ids(folder) == list(range(13))


@pytest.mark.parametrize(
    ("position", "next_event"),
    [(-1, 0), (3, 4), (-1, 10), (4, 8)],
    ids=["none", "an old one", "none, and the hub has forgotten", "forgotten since"],
)
def test_a_table_whose_checkpoint_was_lost_is_left_alone(
    folder: LocalFolder, writer: Writer, position: int, next_event: int
) -> None:
    """What no killed writer can have left, or the hub will not give again, is not deleted: that is told instead."""
    writer.write(numbered(0, 4), -1, held)
    writer.write(numbered(5, 9), 4, held)
    with pytest.raises(CheckpointLost, match="of partition 0, past its checkpoint"):
        writer.recover("0", position, next_event, held)
    assert ids(folder) == list(range(10))


def test_a_first_batch_that_was_cut_off_is_written_again(folder: LocalFolder, writer: Writer) -> None:
    """Also where the hub has forgotten what was before it."""
    writer.write(numbered(500, 509), -1, held)
    assert writer.recover("0", -1, 500, held) == set()
    assert parts(folder) == {}


def test_what_another_has_written_is_left_out(folder: LocalFolder, writer: Writer) -> None:
    """Of a batch that begins before the checkpoint only what is past it is written; of one that ends there, nothing."""
    writer.write(numbered(0, 9), -1, held)
    assert writer.write(numbered(4, 9), 9, held).records == 0
    done = writer.write(batch(5, [*(line(n) for n in range(5, 12)), b"{"]), 9, held)
    assert (done.records, done.repeats, done.aside) == (2, 0, 1)
    assert ranges(folder) == [(0, 9), (10, 12)]
    assert ids(folder) == list(range(12))


def test_without_the_lock_nothing_is_written(folder: LocalFolder, writer: Writer) -> None:
    """A writer that has lost the table's lock stops before its next file."""
    with pytest.raises(LockLost):
        writer.write(numbered(0, 3), -1, lambda: False)
    assert parts(folder) == {}


def test_an_event_that_comes_again_is_left_out() -> None:
    """After a reconnection the client hands out events twice: the intake knows them by their numbers."""
    intake = Intake("0")
    intake.add([Event(n, line(n)) for n in range(5)])
    intake.add([Event(n, line(n)) for n in range(3, 8)])
    taken = intake.take()
    assert taken
    assert (taken.first, taken.last, taken.rows.num_rows) == (0, 7, 8)
    intake.add([Event(n, line(n)) for n in range(6, 8)])
    assert intake.take() is None


def small_files(folder: LocalFolder, writer: Writer, count: int) -> None:
    for number in range(count):
        writer.write(numbered(number, number), number - 1, held)


def test_small_files_are_merged(folder: LocalFolder, writer: Writer) -> None:
    """Sixteen small files become one; fewer stay; the rows are the same, each once."""
    small_files(folder, writer, FAN - 1)
    assert merge(folder, HOUR, "ab", "0") == 0
    writer.write(numbered(FAN - 1, FAN - 1), FAN - 2, held)
    assert merge(folder, HOUR, "ab", "0") == FAN
    assert ranges(folder) == [(0, FAN - 1)]
    assert ids(folder) == list(range(FAN))


def test_a_closed_hour_is_one_file(folder: LocalFolder, writer: Writer) -> None:
    """An hour that is over is merged whatever the number; another partition's files are left alone."""
    small_files(folder, writer, 3)
    Writer(folder, "cd").write(numbered(50, 50), 49, held)
    assert merge(folder, HOUR, "ab", "0", closed=True) == 3
    assert ranges(folder) == [(0, 2), (50, 50)]
    assert merge(folder, HOUR, "ab", "0", closed=True) == 0


def test_killed_while_merging(folder: LocalFolder, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the merged file written and some parts still there, each row counts once; the next start deletes them."""
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
    assert writer.recover("0", 3, 4, held) == set()
    assert list(parts(folder)) == current(parts(folder)) == [Part(HOUR, "ab", "0", 0, 3)]


def test_a_replaced_row_is_taken_out_of_a_merged_file(folder: LocalFolder, writer: Writer) -> None:
    """A finished record finds the interrupted one in whichever file it lies by then."""
    writer.write(batch(0, [line(0, status="interrupted"), line(1)]), -1, held)
    writer.write(numbered(2, 3), 1, held)
    merge(folder, HOUR, "ab", "0", closed=True)
    writer.write(batch(4, [line(0)]), 3, held)
    assert [row["status"] for row in rows(folder.path, "id, status")] == ["completed"] * 4
