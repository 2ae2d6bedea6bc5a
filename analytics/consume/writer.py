"""Writes batches into the table so that each record is in it exactly once, whenever its writer is killed.

The checkpoint alone says what the table holds of a partition. A batch is written under the table's lock, thus:

  1. Files of the partition past its checkpoint are what somebody left who was killed before step 5: they are deleted,
     all of them before an owner's first batch, and those in its hours before each.
     Events up to the checkpoint are dropped from the batch: somebody who owned the partition before has written them.
  2. Of the rest, what the hour of a record holds already is a repeat. An interrupted record is one beside a finished.
  3. The rows are written, a file an hour; a file is there whole or not at all.
  4. Interrupted records that a finished one replaces are taken out of the files that hold them.
  5. The checkpoint goes to the batch's end.

Killed before 5, all of it is done again by the next, from the same checkpoint; a row taken out by 4 is then simply new.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analytics.columns import SCHEMA
from analytics.consume.intake import SEQUENCE, Batch, SetAside
from analytics.consume.lock import LockLost, Valid
from analytics.folder import Folder
from analytics.table import Part, by_hour, current, encoded, parts

ASIDE: Final = "_set_aside"
_INTERRUPTED: Final = "interrupted"

type Step = Callable[[str], None]
"""Is told of each step when it is done: where a test kills."""


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a batch."""

    records: int = 0
    repeats: int = 0
    aside: int = 0
    hours: frozenset[str] = frozenset()
    """Those that have a new file."""


class CheckpointLost(Exception):
    """The table holds more of a partition than its checkpoint says."""


def stream_id(namespace: str, hub: str, group: str) -> str:
    """Tells the files of one hub and consumer group from others' in the same table."""
    return hashlib.blake2b(f"{namespace}/{hub}/{group}".lower().encode(), digest_size=4).hexdigest()


class Writer:
    """Steps 1 to 4, for one hub and consumer group. Its calls block; whoever calls holds the lock and does step 5."""

    def __init__(
        self, folder: Folder, stream: str, step: Step = lambda name: None, *, checkpointed: bool = True
    ) -> None:
        """Of a stream that is not `checkpointed` all that was ever written counts: what is there is a repeat."""
        self._folder = folder
        self._stream = stream
        self._step = step
        self._checkpointed = checkpointed

    def recover(self, partition: str, position: int, next_event: int, valid: Valid) -> set[str]:
        """Delete what a killed writer left of a partition: files past the checkpoint, and those merged into others.

        `next_event` is the first that the hub still gives past the checkpoint. Returns the hours in which the partition
        has several files. Raises CheckpointLost, and deletes nothing, where files past it were finished.
        """
        mine = [part for part in parts(self._folder) if (part.stream, part.partition) == (self._stream, partition)]
        kept = [part for part in mine if part.last <= position]
        gap = next_event > position + 1
        for part in set(mine) - set(kept):
            # a killed writer's begin where it was to go on; and only what comes again may go
            if part.first > next_event or (gap and part.first < next_event):
                raise CheckpointLost(
                    f"the table holds events {part.first} to {part.last} of partition {partition}, past its checkpoint"
                    f" ({position}): it is not this table's, or an old one. Put the right one back, or read with"
                    " another --group, which drops what the table has."
                )
        counting = current(kept)
        for part in set(mine) - set(counting):
            _held(valid)
            self._folder.delete(part.name)
        prefix = f"{ASIDE}/{self._stream}-{partition}-"
        for name in self._folder.files(prefix, ".jsonl"):
            if int(name.removesuffix(".jsonl").rpartition("-")[2]) > position:
                _held(valid)
                self._folder.delete(name)
        hours = [part.hour for part in counting]
        return {hour for hour in hours if hours.count(hour) > 1}

    def write(self, batch: Batch, position: int, valid: Valid) -> Written:
        """Write what of a batch is past the checkpoint. Raises OSError and LockLost: then it is not."""
        first = max(batch.first, position + 1)
        if first > batch.last:
            return Written()
        rows = batch.rows
        if first > batch.first:
            rows = rows.filter(pc.greater(rows[SEQUENCE], position))
        rows = rows.drop_columns([SEQUENCE])
        taken = rows.num_rows
        rows = _once(rows)
        written, hours = 0, set()
        beaten: dict[Part, set[str]] = {}
        for hour, of_hour in by_hour(rows).items():
            new = self._new(self._committed(hour, batch.partition, position, valid), of_hour, beaten)
            if new.num_rows:
                _held(valid)
                part = Part(hour, self._stream, batch.partition, first, batch.last)
                self._folder.write(part.name, encoded(new))
                self._step("written")
                hours.add(hour)
                written += new.num_rows
        aside = [event for event in batch.aside if event.sequence_number > position]
        self._put_aside(batch, first, aside, valid)
        for part, ids in beaten.items():
            _held(valid)
            self._take_out(part, ids)
            self._step("taken out")
        return Written(written, taken - written, len(aside), frozenset(hours))

    def _committed(self, hour: str, partition: str, position: int, valid: Valid) -> list[Part]:
        """The files of an hour, without those past the checkpoint. Another owner may have left them since `recover`,
        and if rows of them counted as held, the next owner would delete the only ones."""
        found = list(parts(self._folder, f"{hour}/"))
        for part in found:
            if self._is_past(part, partition, position):
                _held(valid)
                self._folder.delete(part.name)
        return current(part for part in found if not self._is_past(part, partition, position))

    def _is_past(self, part: Part, partition: str, position: int) -> bool:
        mine = (part.stream, part.partition) == (self._stream, partition)
        return self._checkpointed and mine and part.last > position

    def _new(self, held_there: list[Part], rows: pa.Table, beaten: dict[Part, set[str]]) -> pa.Table:
        """The rows that an hour does not hold in its files; what they replace there is added to `beaten`."""
        ids = rows["id"].combine_chunks()
        finished = set(rows.filter(pc.not_equal(rows["status"], _INTERRUPTED))["id"].to_pylist())
        repeats: list[str] = []
        for part in held_there:
            with self._folder.open(part.name) as file:
                held = pq.read_table(file, columns=["id", "status"])
            for row in held.filter(pc.is_in(held["id"], ids)).to_pylist():
                if row["status"] == _INTERRUPTED and row["id"] in finished:
                    beaten.setdefault(part, set()).add(row["id"])
                else:
                    repeats.append(row["id"])
        return rows.filter(pc.invert(pc.is_in(ids, pa.array(repeats, pa.string())))) if repeats else rows

    def _take_out(self, part: Part, ids: set[str]) -> None:
        with self._folder.open(part.name) as file:
            held = pq.read_table(file)
        kept = held.filter(pc.invert(pc.is_in(held["id"], pa.array(ids, pa.string()))))
        self._folder.write(part.name, encoded(whole(kept)))

    def _put_aside(self, batch: Batch, first: int, aside: Sequence[SetAside], valid: Valid) -> None:
        if aside:
            _held(valid)
            name = f"{ASIDE}/{self._stream}-{batch.partition}-{first:015}-{batch.last:015}.jsonl"
            self._folder.write(name, memoryview(b"".join(event.to_json() for event in aside)))


def whole(rows: pa.Table) -> pa.Table:
    """Rows of an older file with all columns of today."""
    return pa.concat_tables([SCHEMA.empty_table(), rows], promote_options="default").select(SCHEMA.names)


def _once(rows: pa.Table) -> pa.Table:
    """Each id once: its first finished row, or else its first."""
    if pc.count_distinct(rows["id"]).as_py() == rows.num_rows:
        return rows
    chosen: dict[str, int] = {}
    pairs = zip(rows["id"].to_pylist(), rows["status"].to_pylist(), strict=True)
    finished: set[str] = set()
    for index, (id, status) in enumerate(pairs):
        if status != _INTERRUPTED and id not in finished:
            finished.add(id)
            chosen[id] = index
        else:
            chosen.setdefault(id, index)
    return rows.take(pa.array(sorted(chosen.values()), pa.int64()))


def _held(valid: Valid) -> None:
    if not valid():
        raise LockLost("the table's lock was lost: another consumer may be writing")
