"""A stand-in for the platform's proxy worker: drives the real azure-functions-runtime in its own process.

    python proxy_worker.py CHANNEL_FD LOOP [PRELUDE]

Like the real one, it runs asyncio on the main thread (LOOP: asyncio or uvloop), receives the host's messages in a
second thread, creates a task for each, sends log records of the root logger to the host, and waits forever. Replaced
are gRPC, by JSON lines over the inherited socket CHANNEL_FD; protobuf, by plain classes (protos.py); and the changes
to sys.path, by one entry for the app directory. PRELUDE is a Python file that runs before the app is loaded, for tests
to look into the process.
"""

import asyncio
import importlib
import json
import logging
import queue
import runpy
import socket
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import protos
from protos import Message

HOST = "127.0.0.1"


class HostLog(logging.Handler):
    """Sends each record to the host, as AsyncLoggingHandler does."""

    def __init__(self, outgoing: "queue.SimpleQueue[Any]") -> None:
        super().__init__()
        self._outgoing = outgoing

    def emit(self, record: logging.LogRecord) -> None:
        self._outgoing.put({"log": self.format(record), "category": record.name, "level": record.levelno})


class Dispatcher:
    """Receives requests from the host and responds with what the runtime's coroutine returns."""

    def __init__(self, channel: socket.socket, prelude: str | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._channel = channel
        self._prelude = prelude
        self._runtime: ModuleType | None = None
        self._outgoing: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=run) for run in (self._receive, self._send)]

    async def dispatch_forever(self) -> None:
        for thread in self._threads:
            thread.start()
        logging.getLogger().addHandler(HostLog(self._outgoing))
        logging.getLogger().setLevel(logging.INFO)
        try:
            await self._loop.create_future()
        finally:
            self._outgoing.put(None)
            self._channel.shutdown(socket.SHUT_RD)
            for thread in self._threads:
                thread.join()

    def _receive(self) -> None:
        for line in self._channel.makefile("rb"):
            self._loop.call_soon_threadsafe(self._loop.create_task, self._dispatch(json.loads(line)))

    def _send(self) -> None:
        while (message := self._outgoing.get()) is not None:
            self._channel.sendall(json.dumps(message).encode() + b"\n")

    async def _dispatch(self, message: dict[str, Any]) -> None:
        body = message["body"]
        if directory := body.get("function_app_directory"):
            self._load_runtime(directory)
        if message["name"] == "invocation_request":
            body = invocation(body)
        request = Message(
            name=message["name"],
            request=Message(**{message["name"]: Message(**body)}),
            properties={"protos": protos, "host": HOST},
        )
        answer = await getattr(self._runtime, message["name"])(request)
        self._outgoing.put({"id": message["id"], "answer": protos.plain(answer)})

    def _load_runtime(self, directory: str) -> None:
        """Import the runtime again for `directory`: specialisation drops what a placeholder imported."""
        for name in [name for name in sys.modules if name.split(".")[0] == "azure_functions_runtime"]:
            del sys.modules[name]
        sys.path.insert(0, directory)
        if self._prelude and Path(directory, "function_app.py").exists():
            runpy.run_path(self._prelude)
        self._runtime = importlib.import_module("azure_functions_runtime")
        self._runtime.start_threadpool_executor()


def invocation(body: dict[str, Any]) -> dict[str, Any]:
    """The fields of an InvocationRequest; with HttpUri most of the request travels over HTTP."""
    http = protos.RpcHttp(
        method=body["method"],
        url=body["url"],
        headers={},
        query={},
        params=body["params"],
        body=protos.TypedData(),
    )
    return {
        "invocation_id": body["invocation_id"],
        "function_id": body["function_id"],
        "input_data": [protos.ParameterBinding(name="req", data=protos.TypedData(http=http))],
        "trigger_metadata": {},
        "trace_context": protos.RpcTraceContext(trace_parent="", trace_state="", attributes={}),
        "retry_context": protos.RetryContext(retry_count=0, max_retry_count=0, exception=None),
    }


async def start() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    await Dispatcher(channel, sys.argv[3] if len(sys.argv) > 3 else None).dispatch_forever()


if __name__ == "__main__":
    if sys.argv[2] == "uvloop":
        import uvloop

        uvloop.run(start())
    else:
        asyncio.run(start())
