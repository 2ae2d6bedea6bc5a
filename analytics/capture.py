"""Imports the files of Event Hubs Capture into the table.

    python -m analytics.capture --table DIR FILE.avro …

For events past the hub's retention, or where Capture is on anyway. A record that the table already holds, from another
file or from the consumer, is skipped, so an import can be killed and repeated over the same files. FILE may be a URL
that fsspec supports. Spark reads such files itself (analytics/spark/job.py --capture).
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
    """An event in a Capture file."""

    body: bytes
    sequence_number: int
    offset: str
    enqueued_time: datetime
    body_type: AmqpMessageBodyType = AmqpMessageBodyType.DATA


def events(file: BinaryIO) -> Iterator[CapturedEvent]:
    """The events of one file. Raises ValueError if it is not a Capture file."""
    import fastavro

    for row in fastavro.reader(file):
        fields = cast(dict[str, Any], row)
        try:
            enqueued = datetime.strptime(fields["EnqueuedTimeUtc"], _MOMENT).replace(tzinfo=UTC)
            yield CapturedEvent(fields["Body"] or b"", fields["SequenceNumber"], fields["Offset"], enqueued)
        except KeyError as missing:
            raise ValueError(f"not a Capture file: an entry has no {missing}") from missing


async def import_file(table: LocalFolder, source: str) -> tuple[int, int, int]:
    """Write a file's records that the table does not hold. Returns the numbers of new, repeated and set-aside ones."""
    # each file is a stream of its own: only its path names the partition, and operators choose the path's format
    stream = hashlib.blake2b(source.encode(), digest_size=4).hexdigest()
    writer, lock = Writer(table, stream, checkpointed=False), directory_lock(table.path / "_consumer/lock")
    written = repeats = aside = 0
    with fsspec.open(source, "rb") as file:
        for chunk in batched(events(file), _EVENTS, strict=False):
            intake = Intake("c")
            intake.add(chunk)
            batch = intake.take()
            if batch is None:
                continue
            async with lock() as valid:
                done = await asyncio.to_thread(writer.write, batch, batch.first - 1, valid)
            written, repeats, aside = written + done.records, repeats + done.repeats, aside + done.aside
    return written, repeats, aside


def main() -> None:
    """Import all files; exit with 1 at one that cannot be read."""
    parser = argparse.ArgumentParser(
        prog="python -m analytics.capture", description="Imports Capture's files into the table."
    )
    parser.add_argument("--table", type=Path, required=True, help="directory")
    parser.add_argument("files", nargs="+", metavar="FILE")
    options = parser.parse_args()
    for source in options.files:
        try:
            written, repeats, aside = asyncio.run(import_file(LocalFolder(options.table), source))
        except (OSError, ValueError) as fault:
            sys.exit(f"{source}: {fault}")
        print(f"{source}: {written:,} records, {repeats:,} repeats dropped, {aside:,} set aside")


if __name__ == "__main__":
    main()
