"""The files of Event Hubs Capture into the table.

    python -m analytics.capture --table DIR FILE.avro …

For what is older than the hub keeps, or where Capture is on anyway. A record that the table has already, from another
file or from the consumer, is not written again; so it may be killed, and run again over the same files. FILE may be a
URL that fsspec knows. Spark reads such files by itself (analytics/spark/job.py --capture).
"""

import argparse
import asyncio
import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import batched
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import fsspec
from azure.eventhub.amqp import AmqpMessageBodyType

from analytics.consume.intake import Intake
from analytics.consume.lock import directory_lock
from analytics.consume.writer import Writer
from analytics.folder import LocalFolder

_EVENTS: Final = 10_000
_MOMENT: Final = "%m/%d/%Y %I:%M:%S %p"
"""How Capture writes EnqueuedTimeUtc: 11/13/2024 6:59:30 AM."""


@dataclass(frozen=True, slots=True)
class CapturedEvent:
    """An event as Capture keeps it."""

    body: bytes
    sequence_number: int
    offset: str
    enqueued_time: datetime
    body_type: AmqpMessageBodyType = AmqpMessageBodyType.DATA


def events(file: BinaryIO) -> Iterator[CapturedEvent]:
    """The events of one file. Raises ValueError for one that is none of Capture's."""
    import fastavro

    for row in fastavro.reader(file):
        fields = cast(dict[str, Any], row)
        try:
            enqueued = datetime.strptime(fields["EnqueuedTimeUtc"], _MOMENT).replace(tzinfo=UTC)
            yield CapturedEvent(fields["Body"] or b"", fields["SequenceNumber"], fields["Offset"], enqueued)
        except KeyError as missing:
            raise ValueError(f"no file of Capture: an entry without {missing}") from missing


async def take(table: LocalFolder, source: str) -> tuple[int, int, int]:
    """Write a file's records that the table does not have. Returns the numbers of new, repeated and bad ones."""
    # a file is a stream of its own: its partition is told by its path alone, which operators may choose
    stream = hashlib.blake2b(source.encode(), digest_size=4).hexdigest()
    writer, lock = Writer(table, stream, checkpointed=False), directory_lock(table.path / "_consumer/lock")
    written = repeats = aside = 0
    with fsspec.open(source, "rb") as file:
        for some in batched(events(file), _EVENTS, strict=False):
            intake = Intake("c")
            intake.add(some)
            batch = intake.take()
            if batch is None:
                continue
            async with lock() as valid:
                done = await asyncio.to_thread(writer.write, batch, batch.first - 1, valid)
            written, repeats, aside = written + done.records, repeats + done.repeats, aside + done.aside
    return written, repeats, aside


def main() -> None:
    """Take all files, and exit with 1 at one that cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m analytics.capture", description="Capture's files into the table.")
    parser.add_argument("--table", type=Path, required=True, help="directory")
    parser.add_argument("files", nargs="+", metavar="FILE")
    options = parser.parse_args()
    for source in options.files:
        try:
            written, repeats, aside = asyncio.run(take(LocalFolder(options.table), source))
        except (OSError, ValueError) as fault:
            sys.exit(f"{source}: {fault}")
        print(f"{source}: {written:,} records, {repeats:,} repeats dropped, {aside:,} set aside")


if __name__ == "__main__":
    main()
