"""The control endpoint of the broker: minimal HTTP/1.1 with JSON, to set faults and read what is stored.

POST /faults {"busy": 3, …} sets faults, DELETE /faults clears all, GET /stats returns counts,
GET /events?partition=0&from=17 lists stored events; both parameters are optional.
"""

import asyncio
import json
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs, urlsplit

from dev.event_hubs.amqp_values import AmqpError
from dev.event_hubs.broker import Broker
from dev.event_hubs.hub import Partition
from dev.event_hubs.message import CONTENT_TYPE, read

_MAX_BODY: Final = 65536


class Control:
    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one request and close."""
        try:
            method, target, body = await _read_request(reader)
            status, result = self._handle(method, target, body)
        except ValueError as error:
            status, result = HTTPStatus.BAD_REQUEST, {"error": str(error)}
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
            return
        content = json.dumps(result).encode()
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
        )
        writer.write(head.encode() + content)
        writer.close()

    def _handle(self, method: str, target: str, body: bytes) -> tuple[HTTPStatus, dict[str, object]]:
        url = urlsplit(target)
        match method, url.path:
            case "POST", "/faults":
                changes = json.loads(body)
                if not isinstance(changes, dict):
                    raise ValueError("the body must be a JSON object")
                self._broker.set_faults(changes)
                return HTTPStatus.OK, self._broker.faults.active()
            case "DELETE", "/faults":
                self._broker.clear_faults()
                return HTTPStatus.OK, {}
            case "GET", "/stats":
                return HTTPStatus.OK, self._broker.stats()
            case "GET", "/events":
                return HTTPStatus.OK, {"events": self._events(parse_qs(url.query))}
        return HTTPStatus.NOT_FOUND, {"error": f"no {method} {url.path} here"}

    def _events(self, query: dict[str, list[str]]) -> list[dict[str, object]]:
        hub = self._broker.hub
        try:
            chosen = [hub.partition(name) for name in query.get("partition", hub.partitions)]
        except AmqpError as error:
            raise ValueError(error.description) from error
        start = max(0, int(query.get("from", ["0"])[0]))
        return [
            _event(partition, number) for partition in chosen for number in range(max(start, 0), len(partition.log))
        ]


def _event(partition: Partition, number: int) -> dict[str, object]:
    place, event = partition.log.read(number)
    message = read(event)
    return {
        "partition": partition.id,
        "sequence_number": number,
        "offset": str(place.offset),
        "enqueued_time": place.milliseconds,
        "partition_key": place.partition_key,
        "content_type": message.property(CONTENT_TYPE),
        "properties": {str(name): _plain(value) for name, value in message.application_properties.items()},
        "body": message.data.decode(errors="replace") if message.value is None else _plain(message.value),
    }


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, str | int | float | bool) else repr(value)


async def _read_request(reader: asyncio.StreamReader) -> tuple[str, str, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    fields = (line.partition(":") for line in head[1:])
    length = next((int(value) for name, _, value in fields if name.lower() == "content-length"), 0)
    if not 0 <= length <= _MAX_BODY:
        raise ValueError(f"a body of {length} bytes")
    return method, target, await reader.readexactly(length)
