"""The table's lock: one consumer at a time writes into a table. A killed one's lock is free again.

In a directory flock holds it, which ends with its process. In Blob Storage a lease does, which a killed process leaves
until it runs out, and a frozen one loses without knowing: so `valid` is asked before every write.
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
"""How long after the last renewal a write may still begin: a write that takes ten seconds more is within the lease."""
_AGAIN_S: Final = 0.2


class LockLost(Exception):
    """The lock went to somebody else in the meantime."""


def directory_lock(path: Path) -> TableLock:
    """A lock by a file, for the processes of one machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mine = asyncio.Lock()  # so that of one process only one thread waits for the file

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
    """A lock by the lease of a blob, which is made if it is not there."""
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
            await asyncio.sleep(_AGAIN_S)
