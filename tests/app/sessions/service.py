"""Service: a WebSocket server in place of Azure's, whose every frame a test decides; and clients for it."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.kit.proxy import KEY

type Script = Callable[[ServerConnection], Awaitable[None]]

RECORDED = {
    path.stem: json.loads(path.read_text())["frames"] for path in (Path(__file__).parent / "recorded").glob("*.json")
}
REALTIME = "/openai/v1/realtime?model=gpt-realtime"
RESPONSES = "/openai/v1/responses"


class Service:
    """Runs `script` for each session, in a thread with a loop of its own; refuses handshakes with `refusal`."""

    def __init__(self, script: Script, refusal: Callable[[Request], int | None] = lambda request: None) -> None:
        self.script, self.refusal = script, refusal
        self.requests: list[Request] = []
        self.received: list[Any] = []
        self.closed: list[int | None] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(60)

    async def _serve(self) -> None:
        self.loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server: Server
        async with serve(
            self._session,
            "127.0.0.1",
            0,
            process_request=self._process,
            select_subprotocol=lambda _, offered: Subprotocol("realtime") if "realtime" in offered else None,
            max_size=None,
            compression="deflate",
            ping_interval=None,
        ) as server:
            self.url = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
            self._ready.set()
            await self._stop.wait()

    def _process(self, connection: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        status = self.refusal(request)
        if status is None:
            return None
        headers = Headers({"content-type": "application/json", "content-length": "18"})
        return Response(status, "Refused", headers, b'{"error":{"a": 1}}')

    async def _session(self, connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            await self.script(connection)
        await connection.wait_closed()
        self.closed.append(connection.close_code)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)


def session(url: str, path: str = REALTIME, **more: Any) -> ClientConnection:
    """A session with the client's key, without compression unless that is asked for."""
    headers = {"api-key": KEY, **more.pop("headers", {})}
    headers = {name: value for name, value in headers.items() if value}
    target = url.replace("http://", "ws://") + path
    settings: dict[str, Any] = {"compression": None, "max_size": None, "open_timeout": 60, **more}
    return connect(target, additional_headers=headers, proxy=None, **settings)


def replay(service: Service, frames: list[dict[str, Any]]) -> None:
    """Have the service send its part of a recording, each frame when the client's before it have come."""

    async def script(connection: ServerConnection) -> None:
        for frame in frames:
            if frame["from"] == "client":
                service.received.append(json.loads(await connection.recv()))
            else:
                await connection.send(json.dumps(frame["event"]))

    service.script = script


def play(client: ClientConnection, frames: list[dict[str, Any]]) -> list[Any]:
    """Do the client's part of a recording; return the events that came."""
    came = []
    for frame in frames:
        if frame["from"] == "client":
            client.send(json.dumps(frame["event"]))
        else:
            came.append(json.loads(client.recv(60)))
    return came
