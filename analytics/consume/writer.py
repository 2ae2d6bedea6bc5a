"""Writes batches to the table so that each record is in it exactly once, even if a writer is killed at any moment.

The checkpoint alone defines what the table holds of a partition. A batch is written under the table's lock:

  1. Delete the partition's files past its checkpoint, left by a writer killed before step 5: all of them before an
     owner's first batch, those in the batch's hours before each later one.
     Drop the batch's events up to the checkpoint: a previous owner of the partition has written them.
  2. Drop repeats: records whose hour already holds their id. A finished record supersedes an interrupted one.
  3. Write the rows, one file per hour. A file appears whole or not at all.
  4. Remove interrupted records that a finished one replaces from the files that hold them.
  5. Move the checkpoint to the batch's end.

If the writer is killed before 5, the next one repeats all of it from the same checkpoint; a row removed by 4 then
counts as new.
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
"""Called after each step with its name; tests kill the process there."""


@dataclass(frozen=True, slots=True)
class Written:
    """The outcome of a batch."""

    records: int = 0
    repeats: int = 0
    aside: int = 0
    hours: frozenset[str] = frozenset()
    """The hours that have a new file."""


class CheckpointLost(Exception):
    """The table holds more of a partition than its checkpoint says."""


def stream_id(namespace: str, hub: str, group: str) -> str:
    """Identifies the files of one hub and consumer group in a table."""
    return hashlib.blake2b(f"{namespace}/{hub}/{group}".lower().encode(), digest_size=4).hexdigest()


class Writer:
    """Steps 1 to 4, for one hub and consumer group. Its methods block; the caller holds the lock and does step 5."""

    def __init__(
        self, folder: Folder, stream: str, step: Step = lambda name: None, *, checkpointed: bool = True
    ) -> None:
        """If the stream is not `checkpointed`, every file of it counts, and records in them are repeats."""
        self._folder = folder
        self._stream = stream
        self._step = step
        self._checkpointed = checkpointed

    def recover(self, partition: str, position: int, next_event: int, valid: Valid) -> set[str]:
        """Delete a partition's files that a killed writer left: those past the checkpoint, and those already merged.

        `next_event` is the first event past the checkpoint that the hub still has. Returns the hours in which the
        partition has several files. Raises CheckpointLost, and deletes nothing, if files past it were completed.
        """
        mine = [part for part in parts(self._folder) if (part.stream, part.partition) == (self._stream, partition)]
        kept = [part for part in mine if part.last <= position]
        gap = next_event > position + 1
        for part in set(mine) - set(kept):
            # a killed writer's file starts at the next event; delete only what the hub will deliver again
            if part.first > next_event or (gap and part.first < next_event):
                raise CheckpointLost(
                    f"the table holds events {part.first} to {part.last} of partition {partition}, past its checkpoint"
                    f" ({position}): it is out of date or belongs to another table. Restore the right one, or read with"
                    " another --group, which skips records that the table already holds."
                )
        counting = current(kept)
        for part in set(mine) - set(counting):
            _ensure_locked(valid)
            self._folder.delete(part.name)
        prefix = f"{ASIDE}/{self._stream}-{partition}-"
        for name in self._folder.files(prefix, ".jsonl"):
            if int(name.removesuffix(".jsonl").rpartition("-")[2]) > position:
                _ensure_locked(valid)
                self._folder.delete(name)
        hours = [part.hour for part in counting]
        return {hour for hour in hours if hours.count(hour) > 1}

    def write(self, batch: Batch, position: int, valid: Valid) -> Written:
        """Write the part of a batch that is past the checkpoint. Raises OSError and LockLost, both before step 5."""
        first = max(batch.first, position + 1)
        if first > batch.last:
            return Written()
        rows = batch.rows
        if first > batch.first:
            rows = rows.filter(pc.greater(rows[SEQUENCE], position))
        rows = rows.drop_columns([SEQUENCE])
        taken = rows.num_rows
        rows = _without_repeats(rows)
        written, hours = 0, set()
        replaced: dict[Part, set[str]] = {}
        for hour, of_hour in by_hour(rows).items():
            new = self._new(self._committed(hour, batch.partition, position, valid), of_hour, replaced)
            if new.num_rows:
                _ensure_locked(valid)
                part = Part(hour, self._stream, batch.partition, first, batch.last)
                self._folder.write(part.name, encoded(new))
                self._step("written")
                hours.add(hour)
                written += new.num_rows
        aside = [event for event in batch.aside if event.sequence_number > position]
        self._put_aside(batch, first, aside, valid)
        for part, ids in replaced.items():
            _ensure_locked(valid)
            self._remove(part, ids)
            self._step("removed")
        return Written(written, taken - written, len(aside), frozenset(hours))

    def _committed(self, hour: str, partition: str, position: int, valid: Valid) -> list[Part]:
        """The files of an hour, without those past the checkpoint. Another owner may have left those since `recover`;
        if their rows counted as repeats, the next owner would delete the only copy."""
        found = list(parts(self._folder, f"{hour}/"))
        for part in found:
            if self._is_past(part, partition, position):
                _ensure_locked(valid)
                self._folder.delete(part.name)
        return current(part for part in found if not self._is_past(part, partition, position))

    def _is_past(self, part: Part, partition: str, position: int) -> bool:
        mine = (part.stream, part.partition) == (self._stream, partition)
        return self._checkpointed and mine and part.last > position

    def _new(self, committed: list[Part], rows: pa.Table, replaced: dict[Part, set[str]]) -> pa.Table:
        """The rows that the hour's files do not hold yet; adds the ids that they replace in a file to `replaced`."""
        ids = rows["id"].combine_chunks()
        finished = set(rows.filter(pc.not_equal(rows["status"], _INTERRUPTED))["id"].to_pylist())
        repeats: list[str] = []
        for part in committed:
            with self._folder.open(part.name) as file:
                held = pq.read_table(file, columns=["id", "status"])
            for row in held.filter(pc.is_in(held["id"], ids)).to_pylist():
                if row["status"] == _INTERRUPTED and row["id"] in finished:
                    replaced.setdefault(part, set()).add(row["id"])
                else:
                    repeats.append(row["id"])
        return rows.filter(pc.invert(pc.is_in(ids, pa.array(repeats, pa.string())))) if repeats else rows

    def _remove(self, part: Part, ids: set[str]) -> None:
        with self._folder.open(part.name) as file:
            held = pq.read_table(file)
        kept = held.filter(pc.invert(pc.is_in(held["id"], pa.array(ids, pa.string()))))
        self._folder.write(part.name, encoded(with_all_columns(kept)))

    def _put_aside(self, batch: Batch, first: int, aside: Sequence[SetAside], valid: Valid) -> None:
        if aside:
            _ensure_locked(valid)
            name = f"{ASIDE}/{self._stream}-{batch.partition}-{first:015}-{batch.last:015}.jsonl"
            self._folder.write(name, memoryview(b"".join(event.to_json() for event in aside)))


def with_all_columns(rows: pa.Table) -> pa.Table:
    """The rows of an older file, with the columns added since."""
    return pa.concat_tables([SCHEMA.empty_table(), rows], promote_options="default").select(SCHEMA.names)


def _without_repeats(rows: pa.Table) -> pa.Table:
    """One row for each id: its first finished one, otherwise its first."""
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


def _ensure_locked(valid: Valid) -> None:
    if not valid():
        raise LockLost("the table's lock was lost: another consumer may be writing")
