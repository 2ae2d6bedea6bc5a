"""Hub: how to reach Event Hubs, and how an event is made of a record.

The client is imported when it is first needed: that takes a tenth of a second, in which nothing could be served.
"""

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from exporters.record import event_properties

if TYPE_CHECKING:
    from azure.eventhub.aio import EventHubProducerClient
    from azure.eventhub.amqp import AmqpAnnotatedMessage, AmqpMessageProperties


@dataclass(frozen=True, slots=True)
class Hub:
    """A hub's address: a connection string, or a namespace and Entra ID."""

    name: str
    conn_str: str | None = field(default=None, repr=False)
    namespace: str | None = None
    websocket: bool = False

    def connect(self) -> "EventHubProducerClient":
        """A new client, for one thread's loop; it connects when it is first used.

        It retries nothing of its own: its retries end in giving up, have no pause for a busy service, and cannot be
        bounded in time. The sender does all of that. (Without retries it would still sleep before it says so.)
        """
        from azure.eventhub import TransportType
        from azure.eventhub.aio import EventHubProducerClient

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


def event_of(line: bytes) -> "AmqpAnnotatedMessage":
    """The event that carries one record; raises ValueError for a line that is none.

    As the message that an EventData is made into in any case: made at once, and with its properties shared, it costs a
    third less.
    """
    from azure.eventhub.amqp import AmqpAnnotatedMessage

    properties = dict[str | bytes, object](event_properties(line).items())
    message = AmqpAnnotatedMessage(data_body=line, application_properties=properties)
    message.properties = _is_json()
    return message


@cache
def _is_json() -> "AmqpMessageProperties":
    from azure.eventhub.amqp import AmqpMessageProperties

    return AmqpMessageProperties(content_type="application/json")  # type: ignore[no-untyped-call]
