"""Measures what hostile request bodies cost: `python -m tests.chaos.hostile` prints a table of peak memory and stalls.

Each body goes to a process of its own.
"""

import asyncio
import http.client
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from app.main import create_app
from tests.conftest import environ
from tests.kit.hub import Broker
from tests.kit.proxy import KEY, ProxyProcess
from tests.kit.upstream import Reply, ScriptedUpstream, Seen
from tests.kit.wire import CHAT, chat_json

MIB = 1024 * 1024
SIZE = 64 * MIB - 1024


def filled(unit: bytes, before: bytes = b'{"messages":[', after: bytes = b"]}", size: int = SIZE) -> bytes:
    """A body of `size` bytes made of one repeated value."""
    return before + unit + (b"," + unit) * ((size - len(unit)) // (len(unit) + 1)) + after


def bodies() -> Iterator[tuple[str, bytes]]:
    """Names and bodies."""
    yield "`{},{},…`", filled(b"{}")
    yield "`0,0,…`", filled(b"0")
    yield '`"","",…`', filled(b'""')
    yield "lone surrogates", filled(b'"\\ud800"')
    yield "one lone surrogate in a text", b'{"messages":["\\ud800' + b"a" * SIZE + b'"]}'
    yield "5 million keys", b"{" + b",".join(b'"%d":0' % number for number in range(5_000_000)) + b"}"
    yield "nested 30 million deep", b'{"messages":' + b"[" * (SIZE // 2) + b"]" * (SIZE // 2) + b"}"
    yield "ten texts of 6 MiB", filled(b'"' + b"lorem ipsum " * (MIB // 2) + b'"', size=SIZE - 6 * MIB)
    yield "one text with an emoji", b'{"messages":["' + "😀".encode() + b"a" * SIZE + b'"]}'
    yield "messages of 100 bytes", filled(b'{"role":"user","content":"' + b"a" * 70 + b'"}')


class Measured:
    """The proxy's application, and a task that notes how long the loop's thread computed without a turn for others.

    It counts CPU time, so that other processes do not count. GET /stall tells the longest in ms, and begins anew.
    """

    def __init__(self) -> None:
        self._app = create_app()
        self._longest = 0.0
        self._ticking: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._ticking = self._ticking or asyncio.create_task(self._tick())
        if scope["type"] != "http" or scope["path"] != "/stall":
            await self._app(scope, receive, send)
            return
        told, self._longest = self._longest, 0.0
        await PlainTextResponse(str(told * 1000))(scope, receive, send)

    async def _tick(self) -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.001)
            self._longest = max(self._longest, time.thread_time() - before)


def memory(pid: int, name: str) -> float:
    """VmRSS, or VmHWM (its peak), in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def stall(port: int) -> float:
    """The longest stall since it was last asked for, in ms."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/stall", timeout=300) as response:
        return float(response.read())


def send(port: int, body: bytes) -> int:
    """The status of a call."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    connection.request("POST", CHAT, body, {"api-key": KEY, "content-type": "application/json"})
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status


def measure(broker: Broker, upstream: ScriptedUpstream, body: bytes) -> tuple[int, float, float]:
    """The status, the peak in MiB and the stall in ms that a body causes in a fresh process."""
    with tempfile.TemporaryDirectory() as spool:
        settings = environ(upstream.url, broker.conn_str, Path(spool))
        process = ProxyProcess(settings, app="tests.chaos.hostile:Measured").wait_started()
        try:
            send(process.port, b'{"messages":[]}')
            before = memory(process.pid, "VmRSS")
            stall(process.port)
            status = send(process.port, body)
            return status, memory(process.pid, "VmHWM") - before, stall(process.port)
        finally:
            process.close()


def main() -> None:
    """Print the table."""

    async def script(request: Seen, reply: Reply) -> None:
        upstream.seen.clear()
        await reply.json(chat_json())

    upstream = ScriptedUpstream(script)
    with tempfile.TemporaryDirectory() as data, upstream:
        broker = Broker(Path(data))
        print("| body | MiB | status | peak MiB | of the body | stall ms |\n| --- | --- | --- | --- | --- | --- |")
        for name, body in bodies():
            status, peak, longest = measure(broker, upstream, body)
            size = len(body) / MIB
            print(f"| {name} | {size:.0f} | {status} | {peak:.0f} | {peak / size:.1f} x | {longest:.0f} |", flush=True)
        broker.close()


if __name__ == "__main__":
    main()
