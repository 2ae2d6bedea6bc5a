"""Writes the hub's records to a table of Parquet files, until Ctrl-C or, with --once, up to the hub's current end.

    python -m analytics.consume --table DIR|URL [--group G] [--once]

AZURE_EVENTHUB_CONN_STR, or AZURE_EVENTHUB_NAMESPACE and AZURE_EVENTHUB_NAME, name the hub. The table is a directory or
a URL such as abfss://container@account.dfs.core.windows.net/records. Any number of consumers may run at the same time
and share the partitions; each may be killed at any moment. Exits with 1 when it cannot continue.
"""

import argparse
import asyncio
import gc
import hashlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import uvloop
from azure.core.exceptions import AzureError
from azure.eventhub.aio import CheckpointStore, EventHubConsumerClient
from azure.eventhub.exceptions import EventHubError
from rich.console import Console

from analytics.consume.checkpoints import SqliteCheckpointStore
from analytics.consume.consumer import BALANCE_S, EXPIRE_S, Consumer, OtherHub
from analytics.consume.lock import LockLost, TableLock, blob_lock, directory_lock
from analytics.consume.progress import shown
from analytics.consume.writer import CheckpointLost
from analytics.folder import Folder, LocalFolder, folder

if TYPE_CHECKING:
    from azure.storage.blob.aio import BlobClient, ContainerClient

_OWN: Final = "_consumer"
_REFRESH_S: Final = 5.0


def main() -> None:
    """Run until stopped."""
    parser = argparse.ArgumentParser(prog="python -m analytics.consume", description="Writes records to a table.")
    parser.add_argument("--table", required=True, help="directory, or URL that fsspec supports, such as abfss://…")
    parser.add_argument("--group", default="$Default", help="consumer group (default: %(default)s)")
    parser.add_argument("--once", action="store_true", help="stop at the hub's current end")
    parser.add_argument("--flush-seconds", type=float, default=2.0, help="longest time a record waits to be written")
    parser.add_argument(
        "--checkpoints",
        metavar="URL",
        default=os.environ.get("AZURE_CHECKPOINT_CONTAINER_URL"),
        help="container for checkpoints, required for a table at a URL; authenticates with"
        " AZURE_STORAGE_CONNECTION_STRING or Entra ID (default: AZURE_CHECKPOINT_CONTAINER_URL, or the table)",
    )
    options = parser.parse_args()
    if not os.environ.get("AZURE_EVENTHUB_CONN_STR") and not os.environ.get("AZURE_EVENTHUB_NAMESPACE"):
        parser.error("AZURE_EVENTHUB_CONN_STR or AZURE_EVENTHUB_NAMESPACE must name the hub")
    if "://" in options.table and not options.checkpoints:
        parser.error("a table at a URL needs --checkpoints")
    logging.getLogger("azure").setLevel(logging.CRITICAL)  # its exceptions say the same
    # reference counts free a batch's objects; the cycle collector would take a third of the time
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    console = Console(stderr=True)
    try:
        uvloop.run(_consume(options, console))
    except (OSError, AzureError, EventHubError, LockLost, OtherHub, OtherTable, CheckpointLost) as fault:
        console.print(f"{type(fault).__name__}: {fault}", style="bold red", highlight=False, soft_wrap=True)
        sys.exit(1)


async def _consume(options: argparse.Namespace, console: Console) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    table = folder(options.table)
    async with AsyncExitStack() as stack:
        store, lock, container = await stack.enter_async_context(_checkpoints_and_lock(table, options.checkpoints))
        client = await stack.enter_async_context(_client(options.group, store))
        consumer = Consumer(client, store, lock, table, flush_seconds=options.flush_seconds)
        if container is not None:
            await _claim(container.get_blob_client(f"table-of/{consumer.stream}"), table.url)
        async with shown(consumer.counts, console):
            refreshing = asyncio.create_task(_refresh_lag(consumer))
            try:
                await consumer.run(stop, options.once)
            finally:
                refreshing.cancel()


async def _refresh_lag(consumer: Consumer) -> None:
    """Keep the lag up to date. Failing to read it for a while is not an error."""
    while True:
        await asyncio.sleep(_REFRESH_S)
        with suppress(EventHubError, AzureError, OSError):
            await consumer.refresh()


@asynccontextmanager
async def _client(group: str, store: CheckpointStore) -> AsyncIterator[EventHubConsumerClient]:
    settings: dict[str, Any] = {
        "consumer_group": group,
        "checkpoint_store": store,
        "load_balancing_interval": BALANCE_S,
        "partition_ownership_expiration_interval": EXPIRE_S,
        "eventhub_name": os.environ.get("AZURE_EVENTHUB_NAME"),
    }
    conn_str = os.environ.get("AZURE_EVENTHUB_CONN_STR")
    if conn_str:
        try:
            keyed = EventHubConsumerClient.from_connection_string(conn_str, **settings)
        except ValueError as fault:
            sys.exit(f"AZURE_EVENTHUB_CONN_STR: {fault}")
        async with keyed as client:
            yield client
        return
    from azure.identity.aio import DefaultAzureCredential

    namespace = os.environ["AZURE_EVENTHUB_NAMESPACE"]
    async with (
        DefaultAzureCredential() as identity,
        EventHubConsumerClient(namespace, credential=identity, **settings) as client,
    ):
        yield client


@asynccontextmanager
async def _checkpoints_and_lock(
    table: Folder, container_url: str | None
) -> AsyncIterator[tuple[CheckpointStore, TableLock, "ContainerClient | None"]]:
    """The table's checkpoints and lock: in the Blob Storage container if one is named, otherwise in the table's
    directory."""
    if not container_url:
        assert isinstance(table, LocalFolder)
        store = SqliteCheckpointStore(table.path / _OWN / "checkpoints.sqlite")
        try:
            yield store, directory_lock(table.path / _OWN / "lock"), None
        finally:
            store.close()
        return
    from azure.core.exceptions import ResourceExistsError
    from azure.eventhub.extensions.checkpointstoreblobaio import BlobCheckpointStore
    from azure.identity.aio import DefaultAzureCredential
    from azure.storage.blob.aio import ContainerClient

    conn_str = os.environ.get("AZURE_STORAGE_CONNECTION_STRING")
    account, _, name = container_url.rstrip("/").rpartition("/")
    async with AsyncExitStack() as stack:
        if conn_str:
            container = ContainerClient.from_connection_string(conn_str, name)
            blobs = BlobCheckpointStore.from_connection_string(conn_str, name)
        else:
            identity = await stack.enter_async_context(DefaultAzureCredential())
            container = ContainerClient(account, name, credential=identity)
            blobs = BlobCheckpointStore(account, name, credential=identity)
        await stack.enter_async_context(container)
        with suppress(ResourceExistsError):
            await container.create_container()
        of_table = hashlib.blake2b(table.url.encode(), digest_size=8).hexdigest()
        lock = blob_lock(container.get_blob_client(f"table-locks/{of_table}"))
        yield await stack.enter_async_context(blobs), lock, container


async def _claim(note: "BlobClient", table: str) -> None:
    """Record which table the checkpoints of a hub and group belong to: they are valid for that table only.

    Raises OtherTable if they belong to another.
    """
    from azure.core.exceptions import ResourceExistsError

    try:
        await note.upload_blob(table)
    except ResourceExistsError:
        noted = (await (await note.download_blob()).readall()).decode()
        if noted != table:
            raise OtherTable(
                f"the checkpoints of this consumer group belong to the table at {noted}. Use another container or"
                f" group; if the table has moved, delete the blob {note.blob_name}."
            ) from None


class OtherTable(Exception):
    """The checkpoints belong to another table."""


if __name__ == "__main__":
    main()
