"""The table's lock: one consumer at a time writes to a table. The lock of a killed consumer becomes free.

In a directory it is an flock, which ends with its process. In Blob Storage it is a lease: a killed process keeps it
until it expires, and a frozen one loses it without noticing, so every write checks `valid` first.
"""

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from azure.storage.blob.aio import BlobClient, BlobLeaseClient

type Valid = Callable[[], bool]
"""Whether the lock is still held."""
type TableLock = Callable[[], AbstractAsyncContextManager[Valid]]

_LEASE_S: Final = 30
_RENEW_S: Final = 8.0
_SURE_S: Final = 20.0
"""How long after the last renewal a write may start: one of up to ten seconds then ends within the lease."""
_RETRY_S: Final = 0.2


class LockLost(Exception):
    """The lock expired, and another consumer may hold it."""


def directory_lock(path: Path) -> TableLock:
    """A file lock, for the processes of one machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mine = asyncio.Lock()  # so only one thread of a process waits for the file

    @asynccontextmanager
    async def lock() -> AsyncIterator[Valid]:
        async with mine:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                await asyncio.to_thread(fcntl.flock, file, fcntl.LOCK_EX)
                yield lambda: True
            finally:
                os.close(file)

    return lock


def blob_lock(blob: "BlobClient") -> TableLock:
    """A lease on a blob, which is created if missing."""
    mine = asyncio.Lock()

    @asynccontextmanager
    async def lock() -> AsyncIterator[Valid]:
        from azure.core.exceptions import AzureError

        async with mine:
            lease, renewed = await _acquired(blob), [time.monotonic()]

            async def renew() -> None:
                while True:
                    await asyncio.sleep(_RENEW_S)
                    asked = time.monotonic()
                    await lease.renew()
                    renewed[0] = asked

            renewing = asyncio.create_task(renew())
            try:
                yield lambda: time.monotonic() - renewed[0] < _SURE_S
            finally:
                renewing.cancel()
                with suppress(asyncio.CancelledError, AzureError):
                    await renewing
                with suppress(AzureError):
                    await lease.release()

    return lock


async def _acquired(blob: "BlobClient") -> "BlobLeaseClient":
    from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError

    while True:
        try:
            return await blob.acquire_lease(_LEASE_S)
        except ResourceNotFoundError:
            with suppress(ResourceExistsError):
                await blob.upload_blob(b"")
        except HttpResponseError as refusal:
            if refusal.status_code != HTTPStatus.CONFLICT:
                raise
            await asyncio.sleep(_RETRY_S)
