"""The two request-response nodes: `$cbs` accepts tokens, `$management` describes the hub and its partitions."""

from collections.abc import Callable
from dataclasses import dataclass
from time import time
from typing import Final

from dev.event_hubs.amqp_values import AmqpError, Int, Symbol
from dev.event_hubs.hub import Hub
from dev.event_hubs.message import CORRELATION_ID, MESSAGE_ID, Message, read, reply
from dev.event_hubs.token import JWT, SAS, SharedKey, TokenRefused

CBS: Final = "$cbs"
MANAGEMENT: Final = "$management"
_UNAUTHORIZED: Final = "amqp:unauthorized-access"


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    description: str
    body: object = None
    condition: str | None = None
    """The error condition; clients use it to decide whether to retry."""


Node = Callable[[Message], Response]


def cbs(key: SharedKey, authorise_path: Callable[[str], None]) -> Node:
    """`put-token` (AMQP Claims-based Security 1.0 §4.2); `authorise_path` gets the path that a token covers."""

    def handle(request: Message) -> Response:
        if request.text("operation") != "put-token":
            return Response(400, "InvalidOperation: Only put-token is supported.")
        token = request.value if isinstance(request.value, str) else ""
        try:
            authorise_path(key.authorise(request.text("type"), token, request.text("name"), time()))
        except TokenRefused as refused:
            return Response(401, str(refused))
        return Response(202, "Accepted")

    return handle


def management(hub: Hub, key: SharedKey, is_authorised: Callable[[str], bool]) -> Node:
    """READ of the hub and of its partitions; `is_authorised` says whether a put token covers the path of a hub.

    Python's client puts a token; the others send one with the request, as `security_token`, which then decides.
    """

    def authorised(request: Message) -> bool:
        if "security_token" not in request.application_properties:
            return is_authorised(request.text("name"))
        token = request.text("security_token")
        kind = JWT if token.count(".") == 2 and " " not in token else SAS
        try:
            key.authorise(kind, token, f"sb://hub/{request.text('name')}", time())
        except TokenRefused:
            return False
        return True

    def handle(request: Message) -> Response:
        if not authorised(request):
            return Response(
                401,
                "Unauthorized access. 'Listen' or 'Send' claim(s) are required to perform this operation.",
                condition=_UNAUTHORIZED,
            )
        if request.text("name").lower() != hub.name.lower():
            text = f"The messaging entity '{request.text('name')}' could not be found."
            return Response(404, text, condition="amqp:not-found")
        match request.text("operation"), request.text("type"):
            case "READ", "com.microsoft:eventhub":
                return Response(200, "OK", hub.describe())
            case "READ", "com.microsoft:partition":
                try:
                    partition = hub.partition(request.text("partition"))
                except AmqpError as error:
                    return Response(404, error.description, condition=error.condition)
                names: dict[object, object] = {"name": hub.name, "type": "com.microsoft:partition"}
                return Response(200, "OK", names | partition.describe())
        return Response(400, "The operation is not supported.", condition="amqp:not-implemented")

    return handle


def respond(node: Node, request: bytes) -> tuple[bytes, Message]:
    """Decode a request and encode the node's reply; the decoded request says where to send it."""
    message = read(request)
    response = node(message)
    correlation_id = message.property(MESSAGE_ID)
    if correlation_id is None:
        correlation_id = message.property(CORRELATION_ID)
    properties: dict[object, object] = {
        "status-code": Int(response.status),
        "status-description": response.description,
    }
    if response.condition is not None:
        properties["error-condition"] = Symbol(response.condition)
    return reply(correlation_id, properties, response.body), message
