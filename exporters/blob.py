"""BlobStore: a container for records too large for the hub, and for segments that a stopping instance could not send.

records/2026/11/22/<id>.json     one whole record; its event carries the blob's URL as `content_ref`
pending/<name>.ndjson            a segment that an instance parked when it stopped; any instance may send it
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from azure.identity.aio import DefaultAzureCredential
    from azure.storage.blob.aio import ContainerClient

RECORDS: Final = "records"
PENDING: Final = "pending"
DEFAULT_CONTAINER: Final = "openai-records"
LEASE_S: Final = 60
CONNECT_S: Final = 5
READ_S: Final = 20
RETRIES: Final = 2
RETRY_S: Final = 1


@dataclass(frozen=True, slots=True)
class BlobAddress:
    """The container: a URL and Entra ID, or the account's connection string; the URL then only names the container."""

    container_url: str | None = None
    conn_str: str | None = field(default=None, repr=False)

    def connect(self) -> "BlobStore":
        """A new client, for one thread's loop. Raises ValueError for an invalid connection string."""
        from azure.storage.blob.aio import ContainerClient, LinearRetry

        # the library's defaults wait long before failing; a record has other ways, and a stopping process little time
        retry = LinearRetry(backoff=RETRY_S, retry_total=RETRIES, random_jitter_range=RETRY_S)
        options: dict[str, Any] = {
            "retry_policy": retry,
            "connection_timeout": CONNECT_S,
            "read_timeout": READ_S,
        }
        if self.conn_str is not None:
            name = (self.container_url or DEFAULT_CONTAINER).rstrip("/").rpartition("/")[2]
            return BlobStore(ContainerClient.from_connection_string(self.conn_str, name, **options))
        from azure.identity.aio import DefaultAzureCredential

        identity = DefaultAzureCredential()
        url = self.container_url or ""
        return BlobStore(ContainerClient.from_container_url(url, credential=identity, **options), identity)


@dataclass(frozen=True, slots=True)
class Parked:
    """A parked segment that this instance holds the lease of."""

    name: str
    content: bytes
    remove: Callable[[], Awaitable[None]]


class BlobStore:
    """One container. Every method raises AzureError when the service cannot be reached or refuses."""

    def __init__(self, container: "ContainerClient", identity: "DefaultAzureCredential | None" = None) -> None:
        """`identity` is closed with the container."""
        self._container = container
        self._identity = identity
        self._ready = False

    async def put_record(self, record_id: str, line: bytes) -> str:
        """Store a whole record and return its URL, without a signature."""
        day = datetime.now(UTC).strftime("%Y/%m/%d")
        return await self._put(f"{RECORDS}/{day}/{record_id}.json", line, "application/json")

    async def park(self, name: str, content: bytes) -> None:
        """Store a segment, for any instance to pick up."""
        from azure.core.exceptions import HttpResponseError

        try:
            await self._put(f"{PENDING}/{name}", content, "application/x-ndjson")
        except HttpResponseError as fault:
            if fault.status_code != 412:  # it exists and is leased by an instance that is taking it: fine
                raise

    async def parked(self) -> list[str]:
        """The names of the parked segments, oldest first."""
        await self._ensure_container()
        return sorted([blob.name async for blob in self._container.list_blobs(name_starts_with=f"{PENDING}/")])

    async def fetch(self, name: str) -> "Parked | None":
        """Download a parked segment under a lease; None if another instance has it."""
        from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError

        blob = self._container.get_blob_client(name)
        try:
            lease = await blob.acquire_lease(LEASE_S)
        except (ResourceExistsError, ResourceNotFoundError):
            return None
        content = await (await blob.download_blob(lease=lease)).readall()

        async def remove() -> None:
            await blob.delete_blob(lease=lease)

        return Parked(name.rpartition("/")[2], content, remove)

    async def _put(self, name: str, content: bytes, content_type: str) -> str:
        from azure.storage.blob import ContentSettings

        await self._ensure_container()
        blob = self._container.get_blob_client(name)
        # the same name always has the same content, so a retried upload may overwrite its first attempt
        await blob.upload_blob(content, overwrite=True, content_settings=ContentSettings(content_type))
        return str(blob.url).partition("?")[0]

    async def _ensure_container(self) -> None:
        """Create the container at first use, if permitted; an identity may be allowed to write but not to create."""
        from azure.core.exceptions import HttpResponseError, ResourceExistsError

        if not self._ready:
            try:
                await self._container.create_container()
            except ResourceExistsError:
                pass
            except HttpResponseError as fault:
                if fault.status_code != 403:
                    raise
            self._ready = True

    async def close(self) -> None:
        """Close the connections."""
        await self._container.close()
        if self._identity is not None:
            await self._identity.close()
