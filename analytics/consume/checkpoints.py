"""Checkpoints and ownership of partitions in SQLite, for consumers that share a directory.

Works as azure-eventhub's BlobCheckpointStore does in Blob Storage: an owner claims a partition by its etag, so if two
try at the same time, one succeeds. In addition, each process holds a file lock, which reveals a killed owner
immediately: its partitions are free without waiting for the ownership to expire.
"""

import fcntl
import os
import sqlite3
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from azure.eventhub.aio import CheckpointStore

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS ownership (
    namespace TEXT, hub TEXT, consumer_group TEXT, partition TEXT,
    owner TEXT, etag TEXT, modified REAL, holder TEXT,
    PRIMARY KEY (namespace, hub, consumer_group, partition)
);
CREATE TABLE IF NOT EXISTS checkpoint (
    namespace TEXT, hub TEXT, consumer_group TEXT, partition TEXT, offset TEXT, sequence_number INTEGER,
    PRIMARY KEY (namespace, hub, consumer_group, partition)
);
"""
_BUSY_S: Final = 30


class SqliteCheckpointStore(CheckpointStore):
    """One file, for any number of processes on one machine. Calls take milliseconds, so they block the loop."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(path, timeout=_BUSY_S, autocommit=True)
        self._database.executescript(_TABLES)
        self._holder = path.with_name(f"holder-{uuid.uuid4().hex}")
        self._held = os.open(self._holder, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(self._held, fcntl.LOCK_EX)

    def close(self) -> None:
        self._database.close()
        self._holder.unlink()
        os.close(self._held)

    async def list_ownership(
        self, fully_qualified_namespace: str, eventhub_name: str, consumer_group: str, **kwargs: Any
    ) -> Iterable[dict[str, Any]]:
        """The owner of each partition, '' if its process is gone."""
        hub = (fully_qualified_namespace, eventhub_name, consumer_group)
        found = self._database.execute(
            "SELECT partition, owner, etag, modified, holder FROM ownership"
            " WHERE (namespace, hub, consumer_group) = (?, ?, ?)",
            hub,
        ).fetchall()
        alive = {holder for holder in {each[-1] for each in found} if self._is_alive(holder)}
        return [
            {
                **_named(*hub, partition),
                "owner_id": owner if holder in alive else "",
                "etag": etag,
                "last_modified_time": modified,
            }
            for partition, owner, etag, modified, holder in found
        ]

    def _is_alive(self, holder: str) -> bool:
        """Whether the process that made a claim still runs; removes the lock file of one that does not."""
        path = self._holder.with_name(holder)
        try:
            file = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            path.unlink(missing_ok=True)
            return False
        finally:
            os.close(file)

    async def claim_ownership(
        self, ownership_list: Iterable[dict[str, Any]], **kwargs: Any
    ) -> Iterable[dict[str, Any]]:
        """Claim partitions. Returns those claimed: not those that another consumer claimed since they were listed."""
        return [claimed for claimed in map(self._claim, ownership_list) if claimed is not None]

    def _claim(self, wanted: dict[str, Any]) -> dict[str, Any] | None:
        etag, now = uuid.uuid4().hex, time.time()
        new = (wanted["owner_id"], etag, now, self._holder.name)
        if wanted.get("etag"):
            query = (
                "UPDATE ownership SET owner = ?, etag = ?, modified = ?, holder = ?"
                " WHERE (namespace, hub, consumer_group, partition, etag) = (?, ?, ?, ?, ?)"
            )
            done = self._database.execute(query, (*new, *_key(wanted), wanted["etag"]))
        else:
            query = (
                "INSERT OR IGNORE INTO ownership"
                " (owner, etag, modified, holder, namespace, hub, consumer_group, partition)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            )
            done = self._database.execute(query, (*new, *_key(wanted)))
        return {**wanted, "etag": etag, "last_modified_time": now} if done.rowcount else None

    async def update_checkpoint(self, checkpoint: dict[str, Any], **kwargs: Any) -> None:
        """Set a partition's checkpoint, durably."""
        self._database.execute(
            "INSERT OR REPLACE INTO checkpoint (namespace, hub, consumer_group, partition, offset, sequence_number)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (*_key(checkpoint), checkpoint["offset"], checkpoint["sequence_number"]),
        )

    async def list_checkpoints(
        self, fully_qualified_namespace: str, eventhub_name: str, consumer_group: str, **kwargs: Any
    ) -> Iterable[dict[str, Any]]:
        """The checkpoint of each partition that has one."""
        hub = (fully_qualified_namespace, eventhub_name, consumer_group)
        found = self._database.execute(
            "SELECT partition, offset, sequence_number FROM checkpoint"
            " WHERE (namespace, hub, consumer_group) = (?, ?, ?)",
            hub,
        )
        return [
            {**_named(*hub, partition), "offset": offset, "sequence_number": number}
            for partition, offset, number in found
        ]


def _key(of: dict[str, Any]) -> tuple[str, str, str, str]:
    return of["fully_qualified_namespace"], of["eventhub_name"], of["consumer_group"], of["partition_id"]


def _named(namespace: str, hub: str, group: str, partition: str) -> dict[str, Any]:
    return {
        "fully_qualified_namespace": namespace,
        "eventhub_name": hub,
        "consumer_group": group,
        "partition_id": partition,
    }
