"""Records: the records that arrive in the hub from now on, read by an ordinary consumer."""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Final, Self

from azure.eventhub import EventData, TransportType
from azure.eventhub.aio import EventHubConsumerClient, PartitionContext

type Record = dict[str, Any]

_GROUP: Final = "$Default"
_FIELDS: Final = {"trace_id", "timestamp", "model", "status", "latency_ms"}
_CLOCK_SKEW: Final = timedelta(minutes=1)
_RETRY_S: Final = 15.0
_CLOSE_S: Final = 0.5


class Unreadable(Exception):
    """The hub cannot be read: it is unavailable, or the credential may only send."""


class Records:
    """A consumer of all partitions, which reads within an `async with`. It retries, and reports each error once."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Reads records made from now on, from the hub named by these settings of the proxy."""
        self._client = _connect(environ)
        self._since = datetime.now(UTC)
        self._arrived: asyncio.Queue[Record | Unreadable] = asyncio.Queue()
        self._last_error = ""
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        since = self._since - _CLOCK_SKEW
        self._reading = asyncio.create_task(
            self._client.receive(self._on_event, starting_position=since, on_error=self._on_error)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._reading is not None
        self._reading.cancel()
        with contextlib.suppress(Exception):  # a reader loses nothing if closing fails
            async with asyncio.timeout(_CLOSE_S):
                await self._client.close()

    async def next(self) -> Record:
        """Wait for the next record of a call that ended after this was created. Raises Unreadable."""
        arrived = await self._arrived.get()
        if isinstance(arrived, Unreadable):
            raise arrived
        return arrived

    async def find(self, trace_id: str) -> Record:
        """Wait for the record of a trace and skip others. Raises Unreadable."""
        while (record := await self.next())["trace_id"] != trace_id:
            pass
        return record

    async def _on_event(self, partition: PartitionContext, event: EventData | None) -> None:
        """Queue an event if it is a new record."""
        self._last_error = ""
        try:
            record = json.loads(event.body_as_str()) if event else None
        except ValueError:
            return
        if not isinstance(record, dict) or not record.keys() >= _FIELDS:
            return
        if datetime.fromisoformat(record["timestamp"]).replace(tzinfo=UTC) >= self._since:
            self._arrived.put_nowait(record)

    async def _on_error(self, partition: PartitionContext | None, fault: Exception) -> None:
        message = str(fault).partition("\n")[0] or type(fault).__name__
        if message != self._last_error:
            self._last_error = message
            self._arrived.put_nowait(Unreadable(message))


def _connect(environ: Mapping[str, str]) -> EventHubConsumerClient:
    websocket = environ.get("AZURE_EVENTHUB_TRANSPORT", "").lower() == "websocket"
    transport = TransportType.AmqpOverWebsocket if websocket else TransportType.Amqp
    name = environ.get("AZURE_EVENTHUB_NAME")
    if environ.get("AZURE_EVENTHUB_CONN_STR"):
        return EventHubConsumerClient.from_connection_string(
            environ["AZURE_EVENTHUB_CONN_STR"],
            _GROUP,
            eventhub_name=name or None,
            transport_type=transport,
            retry_total=0,
            load_balancing_interval=_RETRY_S,
        )
    from azure.identity.aio import DefaultAzureCredential

    return EventHubConsumerClient(
        environ["AZURE_EVENTHUB_NAMESPACE"],
        name or "",
        _GROUP,
        DefaultAzureCredential(),
        transport_type=transport,
        retry_total=0,
        load_balancing_interval=_RETRY_S,
    )
