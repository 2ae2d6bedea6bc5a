"""Client check: whether Event Hubs' client has the internals that `exporters.batch` and `exporters.transfer` use.

It sends a batch of small records both ways through the client's own session and connection, up to the socket. The bytes
that would be written, and every counter, must be the same.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from exporters.batch import Add, add, add_by_client

_LINES: Final = [b'{"type":"completion","schema_version":1,"id":"check"%b}' % (b" " * size) for size in (0, 300, 900)]
_FRAME: Final = 512
"""AMQP's minimum, so that the records take several frames."""


def why_not_direct() -> str | None:
    """Why records must be sent the public way, or None.

    May raise whatever the client's internals raise: ImportError for a module that is gone, and so on.
    """
    from azure.eventhub._pyamqp.aio._sender_async import SenderLink
    from azure.eventhub._pyamqp.aio._session_async import Session

    from exporters.transfer import BatchLink

    if "SenderLink" not in Session.create_sender_link.__code__.co_names:
        return "Session no longer creates a SenderLink"

    async def both() -> tuple[list[object], list[object]]:
        return await _sent(SenderLink, add_by_client), await _sent(BatchLink, add)

    with ThreadPoolExecutor(1) as executor:  # the caller may be in a running loop, which forbids another
        public, direct = executor.submit(asyncio.run, both()).result()
    return None if public == direct else "a batch that is sent directly differs from the one that the client sends"


async def _sent(kind: Any, put: Add) -> list[object]:
    """The bytes written when a link of this kind sends a batch of the lines, and every counter."""
    from azure.eventhub import EventDataBatch
    from azure.eventhub._pyamqp.aio import _sender_async, _session_async
    from azure.eventhub._pyamqp.aio._connection_async import Connection
    from azure.eventhub._pyamqp.aio._transport_async import AsyncTransport
    from azure.eventhub._pyamqp.constants import ConnectionState, SessionState

    written = list[object]()

    class Wire(AsyncTransport):
        async def _write(self, s: bytes) -> None:
            written.append(bytes(s))

    connection: Any = Connection("amqp://localhost")
    connection._transport, connection.state = Wire("localhost"), ConnectionState.OPENED
    connection._remote_max_frame_size = _FRAME
    quiet: dict[str, Any] = {"network_trace": False, "network_trace_params": {}}
    make: Any = _session_async.Session
    session = make(connection, 3, **quiet)
    session.state, session.remote_incoming_window = SessionState.MAPPED, 10
    link = kind(session, 2, "check", send_settle_mode=0, **quiet)
    link.current_link_credit = 5
    batch: Any = EventDataBatch()
    fitted = [put(batch, line) for line in _LINES]
    pending: Any = _sender_async.PendingDelivery
    delivery = pending(message=batch._message)
    settled = await link._outgoing_transfer(delivery)
    fitted.append(put(EventDataBatch(batch.size_in_bytes // 2), _LINES[-1]))  # too small for it
    counts = (session.next_outgoing_id, session.remote_incoming_window, session.outgoing_window)
    of_link = (link.delivery_count, link.current_link_credit, settled)
    of_delivery = (delivery.sent, delivery.transfer_state, delivery.frame["delivery_id"])
    return [*written, fitted, batch.size_in_bytes, len(batch), counts, of_link, of_delivery]
