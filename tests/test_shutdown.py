"""Shutdown on a signal, with plain uvicorn and with workers: in time, and without losing records."""

import asyncio
import json
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import ContainerClient

from app.lifecycle import GRACE_S
from exporters.blob import BlobAddress
from tests.conftest import environ
from tests.kit.azurite import address, azurite, container, names  # noqa: F401  fixtures
from tests.kit.hub import Broker, Record, spooled, wait_until
from tests.kit.proxy import ProxyProcess, closing_all
from tests.kit.scripts import answering
from tests.kit.upstream import Reply, Seen
from tests.kit.wire import CHAT, DONE, STREAM, TEXT, chat_body, client, delta

SHUTDOWN_SECONDS = 3.0
ENDED = -signal.SIGTERM  # uvicorn re-raises SIGTERM; after SIGINT it exits with 0


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker that a test may freeze."""
    started = Broker(tmp_path / "hub")
    yield started
    started.process.send_signal(signal.SIGCONT)
    started.close()


class Stream:
    """An upstream that streams half of the events to each call, and the rest once the test calls `finish`."""

    def __init__(self, events: list[bytes]) -> None:
        self._events = events
        self._go_on = asyncio.Event()

    async def __call__(self, request: Seen, reply: Reply) -> None:
        await reply.stream_head()
        half = len(self._events) // 2
        for one in self._events[:half]:
            await reply.chunk(one)
        self._loop = asyncio.get_running_loop()
        await self._go_on.wait()
        for one in self._events[half:]:
            await reply.chunk(one)
        await reply.end()

    def finish(self) -> None:
        self._loop.call_soon_threadsafe(self._go_on.set)


def calls(running: ProxyProcess, count: int) -> set[str]:
    """Make calls, each on its own connection; returns their trace ids."""
    traces = set()
    for _ in range(count):
        with client(running.url) as caller:
            answer = caller.chat()
            answer.read()
            traces.add(answer.trace_id)
    return traces


def begin_shutdown(running: ProxyProcess, number: signal.Signals = signal.SIGTERM) -> None:
    """Send the signal, and wait until the server begins to shut down."""
    running.signal(number)
    wait_until(lambda: any("Shutting down" in line for line in running.output))


def backlog_is_empty(running: ProxyProcess) -> bool:
    """Whether no record waits to be sent."""
    with client(running.url) as caller:
        return bool(json.loads(caller.send("GET", "/health/ready").read())["records"]["backlog"] == 0)


def arrive(broker: Broker, count: int) -> list[Record]:
    """Wait for that many records at the hub; returns them without duplicates."""
    wait_until(lambda: len(broker.distinct()) >= count)
    return broker.distinct()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, ENDED), (signal.SIGINT, 0)])
def test_the_last_records_are_sent(
    upstream: Any, process: Any, own_broker: Broker, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    """When the process has exited, the hub has the records of calls that ended just before the signal."""
    running = process(upstream(answering).url, own_broker.conn_str, PROXY_SHUTDOWN_SECONDS="60")
    ids = calls(running, 3)
    running.signal(number)
    assert running.wait_in_time(60) == status
    assert {record["trace_id"] for record in own_broker.records()} == ids
    assert list((tmp_path / "spool").iterdir()) == []


def test_an_open_stream_may_finish_whatever_signals_follow(upstream: Any, process: Any, own_broker: Broker) -> None:
    """A stream that ends in time arrives complete, and so does its record; then the process exits without waiting.

    Neither a second SIGTERM nor a SIGINT, which would make uvicorn exit immediately, changes that.
    """
    stream = Stream(STREAM)
    running = process(upstream(stream).url, own_broker.conn_str, PROXY_SHUTDOWN_SECONDS="60")
    with client(running.url) as caller:
        answer = caller.chat(stream=True)
        begin_shutdown(running)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            running.signal(number)
        stream.finish()
        assert answer.read() == b"".join(STREAM)
    assert running.wait_in_time(60) == ENDED
    (record,) = own_broker.distinct()
    assert (record["status"], record["content"]) == ("completed", TEXT)


def test_endless_streams_are_cut_off(upstream: Any, process: Any, own_broker: Broker) -> None:
    """At the deadline open streams are cut off: the client sees it, and each record has what was received."""
    stream = Stream(STREAM)
    running = process(upstream(stream).url, own_broker.conn_str, PROXY_SHUTDOWN_SECONDS=str(SHUTDOWN_SECONDS))
    callers = []
    for _ in range(50):
        connection = socket.create_connection(("127.0.0.1", running.port), 120)
        body = chat_body(stream=True)
        head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\napi-key: client-key-0\r\ncontent-type: application/json\r\n"
        connection.sendall(head.encode() + b"content-length: %d\r\n\r\n%s" % (len(body), body))
        callers.append(connection)
    for connection in callers:
        received = b""
        while b'" the"' not in received:
            more = connection.recv(65536)
            assert more, received
            received += more
    running.signal(signal.SIGTERM)
    assert running.wait_in_time(SHUTDOWN_SECONDS) == ENDED
    for connection in callers:
        with connection, connection.makefile("rb") as rest:
            assert DONE not in rest.read()
    # on a busy machine there may be too little time left to send them: then the next process does
    process(upstream(stream).url, own_broker.conn_str)
    wait_until(lambda: len(own_broker.distinct()) == 50)
    records = own_broker.distinct()
    assert {record["status"] for record in records} == {"interrupted"}
    assert {record["content"] for record in records} == {"Why did the"}


@pytest.mark.parametrize("frozen", [pytest.param(False, marks=pytest.mark.heavy), True])
def test_a_client_that_stops_reading(upstream: Any, process: Any, own_broker: Broker, frozen: bool) -> None:
    """A client that stops reading, with megabytes in flight to it, delays neither process nor record."""

    async def flood(request: Seen, reply: Reply) -> None:
        await reply.stream_head()
        while True:
            await reply.chunk(delta({"content": "x"}, obfuscation="x" * 60_000))

    server = upstream(flood)
    running = process(server.url, own_broker.conn_str, PROXY_SHUTDOWN_SECONDS=str(SHUTDOWN_SECONDS))
    with client(running.url) as caller:
        answer = caller.chat(stream=True)
        answer.some()
        if frozen:
            own_broker.process.send_signal(signal.SIGSTOP)
        running.signal(signal.SIGTERM)
        assert running.wait_in_time(SHUTDOWN_SECONDS) == ENDED
    own_broker.process.send_signal(signal.SIGCONT)
    process(server.url, own_broker.conn_str)  # on a busy machine the next process sends it
    (record, *_) = arrive(own_broker, 1)
    assert (record["trace_id"], record["status"]) == (answer.trace_id, "interrupted")


@pytest.mark.parametrize("ends", [False, True])
def test_an_incomplete_upload_is_refused(upstream: Any, process: Any, own_broker: Broker, ends: bool) -> None:
    """A stalled upload delays the process no longer than the deadline, and one that ends before it is refused. Neither
    is sent upstream, so there is no record."""
    server, seconds = upstream(answering), 60 if ends else SHUTDOWN_SECONDS / 2
    running = process(server.url, own_broker.conn_str, PROXY_SHUTDOWN_SECONDS=str(seconds))
    body = chat_body()
    with socket.create_connection(("127.0.0.1", running.port), 120) as caller:
        caller.sendall(f"POST {CHAT} HTTP/1.1\r\nhost: x\r\napi-key: client-key-0\r\nexpect: 100-continue\r\n".encode())
        caller.sendall(b"content-type: application/json\r\ncontent-length: %d\r\n\r\n{" % len(body))
        assert caller.recv(65536).startswith(b"HTTP/1.1 100 ")  # now the proxy reads it
        begin_shutdown(running)
        if ends:
            caller.sendall(body[1:])
            assert caller.recv(65536).startswith(b"HTTP/1.1 503 ")
        assert running.wait_in_time(seconds) == ENDED
    assert (server.seen, own_broker.records()) == ([], [])


def test_records_survive_a_frozen_hub(upstream: Any, process: Any, own_broker: Broker, tmp_path: Path) -> None:
    """With a hanging hub the process exits in time; its records stay on disk, and the next process sends them."""
    server = upstream(answering)
    running = process(server.url, own_broker.conn_str, PROXY_SHUTDOWN_SECONDS=str(SHUTDOWN_SECONDS))
    calls(running, 1)
    arrive(own_broker, 1)
    wait_until(lambda: backlog_is_empty(running))
    own_broker.process.send_signal(signal.SIGSTOP)
    ids = calls(running, 20)
    running.signal(signal.SIGTERM)
    assert running.wait_in_time(SHUTDOWN_SECONDS) == ENDED
    assert {record["trace_id"] for record in spooled(tmp_path / "spool")} == ids
    own_broker.process.send_signal(signal.SIGCONT)
    process(server.url, own_broker.conn_str)
    assert ids <= {record["trace_id"] for record in arrive(own_broker, 21)}
    wait_until(lambda: spooled(tmp_path / "spool") == [])


def test_a_hanging_process_is_killed(upstream: Any, own_broker: Broker, tmp_path: Path) -> None:
    """Whatever hangs, even the interpreter itself: the process exits with 1 and dumps its stacks."""
    settings = environ(upstream(answering).url, own_broker.conn_str, tmp_path, PROXY_SHUTDOWN_SECONDS="1")
    with closing_all() as started:
        running = ProxyProcess(settings, app="tests.kit.hanging:create_app").wait_started()
        started.append(running)
        calls(running, 1)
        running.signal(signal.SIGINT)
        assert running.wait_in_time(1 + GRACE_S) == 1
    assert "Timeout (0:00:03)!\n" in running.output
    assert any("in search" in line for line in running.output)


@pytest.mark.parametrize("frozen", [pytest.param(False, marks=pytest.mark.heavy), True])
def test_workers_shut_down(upstream: Any, process: Any, own_broker: Broker, tmp_path: Path, frozen: bool) -> None:
    """With `--workers 2` each worker shuts down like a single process; the next process sends what they leave."""
    server = upstream(answering)
    running = process(server.url, own_broker.conn_str, "--workers", "2", PROXY_SHUTDOWN_SECONDS=str(SHUTDOWN_SECONDS))
    wait_until(lambda: sum("Application startup complete" in line for line in running.output) == 2)
    if frozen:
        own_broker.process.send_signal(signal.SIGSTOP)
    ids = calls(running, 20)
    running.signal(signal.SIGTERM)
    assert running.wait_in_time(SHUTDOWN_SECONDS) == 0  # the status of uvicorn's supervisor
    own_broker.process.send_signal(signal.SIGCONT)
    if frozen:
        assert {record["trace_id"] for record in spooled(tmp_path / "spool")} == ids
        process(server.url, own_broker.conn_str)
    assert {record["trace_id"] for record in arrive(own_broker, 20)} == ids
    wait_until(lambda: spooled(tmp_path / "spool") == [])


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_records_survive_the_loss_of_the_disk(
    upstream: Any,
    process: Any,
    own_broker: Broker,
    tmp_path: Path,
    address: BlobAddress,  # noqa: F811
    container: ContainerClient,  # noqa: F811
) -> None:
    """With a container configured, it receives what a stopping instance could not send; another instance sends it."""
    blobs = {"AZURE_BLOB_CONTAINER_URL": str(address.container_url), "AZURE_BLOB_CONN_STR": str(address.conn_str)}
    server = upstream(answering)
    running = process(server.url, own_broker.conn_str, PROXY_SHUTDOWN_SECONDS="10", **blobs)
    calls(running, 1)
    arrive(own_broker, 1)
    own_broker.process.send_signal(signal.SIGSTOP)
    ids = calls(running, 20)
    running.signal(signal.SIGTERM)
    assert running.wait_in_time(10) == ENDED
    assert names(container) != []
    shutil.rmtree(tmp_path / "spool")
    own_broker.process.send_signal(signal.SIGCONT)
    process(server.url, own_broker.conn_str, **blobs)
    assert ids <= {record["trace_id"] for record in arrive(own_broker, 21)}
    wait_until(lambda: names(container) == [])
