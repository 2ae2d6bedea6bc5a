"""Hub: how to reach Event Hubs, and how an event is made of a record."""

from dataclasses import dataclass, field

from azure.eventhub import EventData, TransportType
from azure.eventhub.aio import EventHubProducerClient

from exporters.record import event_properties


@dataclass(frozen=True, slots=True)
class Hub:
    """A hub's address: a connection string, or a namespace and Entra ID."""

    name: str
    conn_str: str | None = field(default=None, repr=False)
    namespace: str | None = None
    websocket: bool = False

    def connect(self) -> EventHubProducerClient:
        """A new client, for one thread's loop; it connects when it is first used.

        It retries nothing of its own: its retries end in giving up, have no pause for a busy service, and cannot be
        bounded in time. The sender does all of that.
        """
        transport = TransportType.AmqpOverWebsocket if self.websocket else TransportType.Amqp
        if self.conn_str is not None:
            return EventHubProducerClient.from_connection_string(
                self.conn_str, eventhub_name=self.name, transport_type=transport, retry_total=0
            )
        from azure.identity.aio import DefaultAzureCredential

        return EventHubProducerClient(
            fully_qualified_namespace=self.namespace or "",
            eventhub_name=self.name,
            credential=DefaultAzureCredential(),
            transport_type=transport,
            retry_total=0,
        )


def event_of(line: bytes) -> EventData:
    """The event that carries one record; raises ValueError for a line that is none."""
    event = EventData(line)
    event.properties = dict[str | bytes, object](event_properties(line).items())
    event.content_type = "application/json"
    return event
