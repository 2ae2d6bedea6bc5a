"""The two request-response nodes: `$cbs` takes tokens, `$management` tells of the hub and its partitions."""

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
class Answer:
    status: int
    description: str
    body: object = None
    condition: str | None = None
    """The error condition, by which clients decide whether to retry."""


Node = Callable[[Message], Answer]


def cbs(key: SharedKey, open_path: Callable[[str], None]) -> Node:
    """`put-token` (AMQP Claims-based Security 1.0 §4.2); `open_path` gets the path that a token opens."""

    def answer(request: Message) -> Answer:
        if request.text("operation") != "put-token":
            return Answer(400, "InvalidOperation: Only put-token is known here.")
        token = request.value if isinstance(request.value, str) else ""
        try:
            open_path(key.authorise(request.text("type"), token, request.text("name"), time()))
        except TokenRefused as refused:
            return Answer(401, str(refused))
        return Answer(202, "Accepted")

    return answer


def management(hub: Hub, key: SharedKey, may_use: Callable[[str], bool]) -> Node:
    """READ of the hub and of its partitions; `may_use` says whether a token that was put opens the path of a hub.

    Python's client puts a token for it; the others send theirs along, as `security_token`, which then decides.
    """

    def authorised(request: Message) -> bool:
        if "security_token" not in request.application_properties:
            return may_use(request.text("name"))
        token = request.text("security_token")
        kind = JWT if token.count(".") == 2 and " " not in token else SAS
        try:
            key.authorise(kind, token, f"sb://hub/{request.text('name')}", time())
        except TokenRefused:
            return False
        return True

    def answer(request: Message) -> Answer:
        if not authorised(request):
            return Answer(
                401,
                "Unauthorized access. 'Listen' or 'Send' claim(s) are required to perform this operation.",
                condition=_UNAUTHORIZED,
            )
        if request.text("name").lower() != hub.name.lower():
            text = f"The messaging entity '{request.text('name')}' could not be found."
            return Answer(404, text, condition="amqp:not-found")
        match request.text("operation"), request.text("type"):
            case "READ", "com.microsoft:eventhub":
                return Answer(200, "OK", hub.describe())
            case "READ", "com.microsoft:partition":
                try:
                    partition = hub.partition(request.text("partition"))
                except AmqpError as error:
                    return Answer(404, error.description, condition=error.condition)
                names: dict[object, object] = {"name": hub.name, "type": "com.microsoft:partition"}
                return Answer(200, "OK", names | partition.describe())
        return Answer(400, "The operation is not known here.", condition="amqp:not-implemented")

    return answer


def respond(node: Node, request: bytes) -> tuple[bytes, Message]:
    """Decode a request and encode the node's answer; the decoded request says where to send it."""
    message = read(request)
    answer = node(message)
    correlation_id = message.property(MESSAGE_ID)
    if correlation_id is None:
        correlation_id = message.property(CORRELATION_ID)
    properties: dict[object, object] = {
        "status-code": Int(answer.status),
        "status-description": answer.description,
    }
    if answer.condition is not None:
        properties["error-condition"] = Symbol(answer.condition)
    return reply(correlation_id, properties, answer.body), message
