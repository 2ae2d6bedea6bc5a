"""The log of one partition: an append-only file whose events survive a SIGKILL, with an index in memory.

Invariants: sequence numbers are 0, 1, 2, … without gaps; an event's offset is its position in the file;
enqueued times never decrease. An event is in the file (write(2) has returned) before `append` returns, so the
kernel keeps it when the process dies; there is no fsync, as the machine is not expected to fail. A torn last
event is truncated when the file is opened.
"""

import os
import struct
import time
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from pathlib import Path
from typing import Final

from dev.event_hubs.message import Enqueued

_RECORD: Final = struct.Struct(">qHI")
"""Enqueued time in milliseconds, length of the partition key (_NO_KEY: none), length of the event."""
_NO_KEY: Final = 0xFFFF


class PartitionLog:
    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._offsets = array("q")
        self._times = array("q")
        self._end = 0
        self._load()

    def __len__(self) -> int:
        return len(self._offsets)

    def _load(self) -> None:
        size = os.fstat(self._file).st_size
        while self._end + _RECORD.size <= size:
            milliseconds, key, length = _RECORD.unpack(os.pread(self._file, _RECORD.size, self._end))
            end = self._end + _RECORD.size + (0 if key == _NO_KEY else key) + length
            if end > size:
                break
            self._offsets.append(self._end)
            self._times.append(milliseconds)
            self._end = end
        os.ftruncate(self._file, self._end)

    def append(self, events: list[bytes], partition_key: str | None) -> None:
        """Store the events of one batch. Raises OSError if writing fails, and then stores none."""
        now = int(self._clock() * 1000)
        if self._times:
            now = max(now, self._times[-1])
        key = b"" if partition_key is None else partition_key.encode()
        key_length = _NO_KEY if partition_key is None else len(key)
        records = bytearray()
        offsets = []
        for event in events:
            offsets.append(self._end + len(records))
            records += _RECORD.pack(now, key_length, len(event))
            records += key
            records += event
        self._write(records)
        self._offsets.extend(offsets)
        self._times.extend([now] * len(offsets))
        self._end += len(records)

    def _write(self, records: bytearray) -> None:
        written = 0
        try:
            while written < len(records):
                written += os.write(self._file, memoryview(records)[written:])
        except OSError:
            os.ftruncate(self._file, self._end)
            raise

    def read(self, sequence_number: int) -> tuple[Enqueued, bytes]:
        """The event with that sequence number. Raises IndexError past the end."""
        offset = self._offsets[sequence_number]
        last = sequence_number + 1 == len(self._offsets)
        end = self._end if last else self._offsets[sequence_number + 1]
        record = os.pread(self._file, end - offset, offset)
        milliseconds, key_length, _ = _RECORD.unpack_from(record)
        body = _RECORD.size + (0 if key_length == _NO_KEY else key_length)
        key = None if key_length == _NO_KEY else record[_RECORD.size : body].decode()
        return Enqueued(sequence_number, offset, milliseconds, key), record[body:]

    def last(self) -> Enqueued | None:
        return self.read(len(self) - 1)[0] if len(self) else None

    def after_offset(self, offset: int, inclusive: bool) -> int:
        """The sequence number of the first event after that offset, or at it if `inclusive`."""
        return (bisect_left if inclusive else bisect_right)(self._offsets, offset)

    def after_time(self, milliseconds: int, inclusive: bool) -> int:
        """The sequence number of the first event enqueued after that time, or at it if `inclusive`."""
        return (bisect_left if inclusive else bisect_right)(self._times, milliseconds)

    def close(self) -> None:
        os.close(self._file)
