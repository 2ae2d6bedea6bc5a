"""How much of the proxy's own time a failover to another backend takes: `python -m bench.failover`.

Two servers replace Azure OpenAI: one is always busy (429 with retry-after-ms 0, so that every call tries it), the other
responds. Calls alternate between a deployment that only the second server has and one for which the proxy tries the
busy server first. The extra time of the second kind, minus that of the busy server itself, is the proxy's: to read and
drop the response, choose another backend and send another request.
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BODY = json.dumps({"messages": [{"role": "user", "content": "Why trace a call? " * 50}]})
HEADERS = {"api-key": "key", "content-type": "application/json"}
CONTENT = {"choices": [{"index": 0, "message": {"content": "Well."}, "finish_reason": "stop"}], "model": "m"}


def _response(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "content-type: application/json", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


BUSY = _response("429 Busy", b'{"error":{"code":"429","message":"Rate limit is exceeded."}}', "retry-after-ms: 0")
FREE = _response("200 OK", json.dumps({**CONTENT, "usage": {"prompt_tokens": 9, "total_tokens": 11}}).encode())


def _serve(listening: socket.socket, response: bytes) -> None:
    """Send this response to every request, with as little work as possible."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
                writer.write(response)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def serve() -> None:
        await (await asyncio.start_server(connected, sock=listening)).serve_forever()

    asyncio.run(serve())


@contextmanager
def _server(response: bytes) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        process = get_context("fork").Process(target=_serve, args=(listening, response), daemon=True)
        process.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            process.terminate()
            process.join()


@contextmanager
def _proxy(busy: str, free: str, spool: str) -> Iterator[str]:
    """A proxy whose records have no hub to go to."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    backends = [
        {"name": "busy", "base_url": busy, "key": "k", "priority": 0, "deployments": ["both"]},
        {"name": "free", "base_url": free, "key": "k", "priority": 1, "deployments": ["both", "one"]},
    ]
    hub = "Endpoint=sb://localhost:1;SharedAccessKeyName=k;SharedAccessKey=k;UseDevelopmentEmulator=true;EntityPath=h"
    environ = {"AZURE_OPENAI_BACKENDS": json.dumps(backends), "AZURE_EVENTHUB_CONN_STR": hub}
    environ |= {"PROXY_CLIENT_KEYS": "key", "PROXY_SPOOL_DIR": spool, "PROXY_SHUTDOWN_SECONDS": "1"}
    command = [sys.executable, "-m", "uvicorn", "app.main:create_app", "--factory", f"--port={port}"]
    process = subprocess.Popen(
        [*command, "--no-access-log", "--log-level=critical"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "TMPDIR": spool, **environ},
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            if process.poll() is not None:
                raise SystemExit("the proxy did not start")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def _milliseconds(connection: HTTPConnection, deployment: str, status: int) -> float:
    """The duration of one call on a keep-alive connection."""
    start = time.perf_counter()
    connection.request("POST", f"/openai/deployments/{deployment}/chat/completions?api-version=1", BODY, HEADERS)
    response = connection.getresponse()
    response.read()
    taken = time.perf_counter() - start
    if response.status != status:
        raise SystemExit(f"the status is {response.status} instead of {status}")
    return taken * 1000


def measure(calls: int) -> dict[str, float]:
    """Medians of `calls` calls of each kind, and the proxy's own time, in milliseconds."""
    with (
        tempfile.TemporaryDirectory() as spool,
        _server(BUSY) as busy,
        _server(FREE) as free,
        _proxy(busy, free, spool) as proxy,
    ):
        to_proxy, to_busy = HTTPConnection(proxy.partition("//")[2]), HTTPConnection(busy.partition("//")[2])
        kinds = {"one backend": (to_proxy, "one", 200), "failing over": (to_proxy, "both", 200)}
        kinds["the busy backend itself"] = (to_busy, "both", 429)
        taken: dict[str, list[float]] = {kind: [] for kind in kinds}
        for turn in range(calls + 50):
            for kind, what in kinds.items():
                milliseconds = _milliseconds(*what)
                if turn >= 50:  # the first ones warm up
                    taken[kind].append(milliseconds)
        medians = {kind: statistics.median(times) for kind, times in taken.items()}
        own = medians["failing over"] - medians["one backend"] - medians["the busy backend itself"]
        return medians | {"the proxy's own time": own}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1000, help="of each kind")
    for name, median in measure(parser.parse_args().calls).items():
        print(f"{name:<28}{median:7.3f} ms")
