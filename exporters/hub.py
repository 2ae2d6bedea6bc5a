"""Hub: the address of Event Hubs.

The client is imported when the application is created (`exporters.client_check`), not with this module: that takes a
tenth of a second, in which nothing could be served.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from exporters.batch import Add, add, add_by_client

if TYPE_CHECKING:
    from azure.eventhub.aio import EventHubProducerClient


@dataclass(frozen=True, slots=True)
class Hub:
    """A hub's address: a connection string, or a namespace and Entra ID."""

    name: str
    conn_str: str | None = field(default=None, repr=False)
    namespace: str | None = None
    websocket: bool = False
    direct: bool = True
    """Whether batches are written by `exporters.batch` and `exporters.transfer`, or by the client."""

    @property
    def put(self) -> Add:
        """How records are added to a batch of these clients."""
        return add if self.direct else add_by_client

    def connect(self) -> "EventHubProducerClient":
        """A new client, for one thread's loop; it connects at first use.

        Its own retries are off: they give up, do not back off from a busy service, and cannot be bounded in time. The
        sender retries instead. (Even without retries the client would sleep before it raises; the backoff of 0 avoids
        that.)
        """
        from azure.eventhub import TransportType
        from azure.eventhub.aio import EventHubProducerClient

        if self.direct:
            from exporters.transfer import install_batch_link

            install_batch_link()
        options: dict[str, Any] = {
            "eventhub_name": self.name,
            "transport_type": TransportType.AmqpOverWebsocket if self.websocket else TransportType.Amqp,
            "retry_total": 0,
            "retry_backoff_factor": 0,
        }
        if self.conn_str is not None:
            return EventHubProducerClient.from_connection_string(self.conn_str, **options)
        from exporters.identity_client import IdentityClient

        return IdentityClient(self.namespace or "", **options)
