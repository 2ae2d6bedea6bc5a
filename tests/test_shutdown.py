"""How the proxy ends on a signal, as plain uvicorn and with workers: in its time, and with nothing lost."""

import asyncio
import contextlib
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
from tests.kit.hub import Broker, Record, wait_until
from tests.kit.proxy import ProxyProcess, closing_all
from tests.kit.scripts import answering
from tests.kit.upstream import Reply, Seen
from tests.kit.wire import CHAT, DONE, STREAM, TEXT, chat_body, client, delta

SHUTDOWN_SECONDS = 3.0
ENDED = -signal.SIGTERM  # uvicorn ends by the signal; SIGINT, by which people end it, it takes for success


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker that a test may freeze."""
    started = Broker(tmp_path / "hub")
    yield started
    started.process.send_signal(signal.SIGCONT)
    started.close()


class Stream:
    """An upstream that streams what the test releases, to any number of calls."""

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
    """Make so many calls, each on a connection of its own; their traces."""
    traces = set()
    for _ in range(count):
        with client(running.url) as caller:
            answer = caller.chat()
            answer.read()
            traces.add(answer.trace_id)
    return traces


def told_to_end(running: ProxyProcess, number: signal.Signals = signal.SIGTERM) -> None:
    """Send the signal, and wait until the server has begun to shut down."""
    running.signal(number)
    wait_until(lambda: any("Shutting down" in line for line in running.output))


def in_time(running: ProxyProcess, seconds: float = SHUTDOWN_SECONDS) -> int:
    """The exit status of a process that was told to end."""
    return running.wait_in_time(seconds)


def spooled(directory: Path) -> list[Record]:
    """The records that a process has left on disk."""
    lines: list[str] = []
    for path in directory.rglob("*.ndjson"):
        with contextlib.suppress(FileNotFoundError):  # it was just sent
            lines += path.read_text().splitlines()
    return [json.loads(line) for line in lines]


def at_rest(running: ProxyProcess) -> bool:
    """Whether nothing waits to be sent."""
    with client(running.url) as caller:
        return bool(json.loads(caller.send("GET", "/health/ready").read())["records"]["backlog"] == 0)


def distinct(broker: Broker) -> list[Record]:
    """The records at the hub, not counting copies."""
    return list({record["id"]: record for record in broker.records()}.values())


def arrive(broker: Broker, count: int) -> list[Record]:
    """The records at the hub, as soon as there are so many, not counting copies."""
    wait_until(lambda: len(distinct(broker)) >= count)
    return distinct(broker)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, ENDED), (signal.SIGINT, 0)])
def test_the_last_record_is_sent(
    upstream: Any, process: Any, own_broker: Broker, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    """The records of calls that ended just before the signal are at the hub when the process is gone."""
    running = process(upstream(answering).url, own_broker.conn_str, PROXY_SHUTDOWN_SECONDS="60")
    ids = calls(running, 3)
    running.signal(number)
    assert in_time(running, 60) == status
    assert {record["trace_id"] for record in own_broker.records()} == ids
    assert list((tmp_path / "spool").iterdir()) == []


def test_an_open_stream_may_end_by_itself(upstream: Any, process: Any, own_broker: Broker) -> None:
    """A stream that ends within the time arrives whole, and so does its record; then the process ends at once."""
    stream = Stream(STREAM)
    running = process(upstream(stream).url, own_broker.conn_str, PROXY_SHUTDOWN_SECONDS="60")
    with client(running.url) as caller:
        answer = caller.chat(stream=True)
        told_to_end(running)
        stream.finish()
        assert answer.read() == b"".join(STREAM)
    assert in_time(running, 60) == ENDED
    (record,) = distinct(own_broker)
    assert (record["status"], record["content"]) == ("completed", TEXT)


def test_further_signals_change_nothing(upstream: Any, process: Any, own_broker: Broker) -> None:
    """A second SIGTERM, or a SIGINT that would make uvicorn leave at once, neither cuts a stream nor loses a record."""
    stream = Stream(STREAM)
    running = process(upstream(stream).url, own_broker.conn_str, PROXY_SHUTDOWN_SECONDS="60")
    with client(running.url) as caller:
        answer = caller.chat(stream=True)
        told_to_end(running)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            running.signal(number)
        stream.finish()
        assert answer.read() == b"".join(STREAM)
    assert in_time(running, 60) == ENDED
    (record,) = distinct(own_broker)
    assert record["status"] == "completed"


def test_streams_that_never_end_are_cut(upstream: Any, process: Any, own_broker: Broker) -> None:
    """At the deadline open streams are cut: the client sees it, and each record holds what was received."""
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
    assert in_time(running) == ENDED
    for connection in callers:
        with connection, connection.makefile("rb") as rest:
            assert DONE not in rest.read()
    # a machine that is busy elsewhere may leave too little time for the hub: then the next process sends them
    process(upstream(stream).url, own_broker.conn_str)
    wait_until(lambda: len(distinct(own_broker)) == 50)
    records = distinct(own_broker)
    assert {record["status"] for record in records} == {"interrupted"}
    assert {record["content"] for record in records} == {"Why did the"}


@pytest.mark.parametrize("frozen", [pytest.param(False, marks=pytest.mark.heavy), True])
def test_a_client_that_reads_nothing(upstream: Any, process: Any, own_broker: Broker, frozen: bool) -> None:
    """A client that has stopped reading, with megabytes on their way to it, holds up neither process nor record."""

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
        assert in_time(running) == ENDED
    own_broker.process.send_signal(signal.SIGCONT)
    process(server.url, own_broker.conn_str)  # what a busy machine left no time to send, the next process does
    (record, *_) = arrive(own_broker, 1)
    assert (record["trace_id"], record["status"]) == (answer.trace_id, "interrupted")


@pytest.mark.parametrize("ends", [False, True])
def test_a_request_that_is_not_whole(upstream: Any, process: Any, own_broker: Broker, ends: bool) -> None:
    """An upload that stalls holds the process no longer than the deadline, and one that ends by then comes too late:
    it is refused. Upstream is not asked, so there is no record."""
    server, seconds = upstream(answering), 60 if ends else SHUTDOWN_SECONDS / 2
    running = process(server.url, own_broker.conn_str, PROXY_SHUTDOWN_SECONDS=str(seconds))
    body = chat_body()
    with socket.create_connection(("127.0.0.1", running.port), 120) as caller:
        caller.sendall(f"POST {CHAT} HTTP/1.1\r\nhost: x\r\napi-key: client-key-0\r\nexpect: 100-continue\r\n".encode())
        caller.sendall(b"content-type: application/json\r\ncontent-length: %d\r\n\r\n{" % len(body))
        assert caller.recv(65536).startswith(b"HTTP/1.1 100 ")  # now it is being read
        told_to_end(running)
        if ends:
            caller.sendall(body[1:])
            assert caller.recv(65536).startswith(b"HTTP/1.1 503 ")
        assert in_time(running, seconds) == ENDED
    assert (server.seen, own_broker.records()) == ([], [])


def test_a_frozen_hub(upstream: Any, process: Any, own_broker: Broker, tmp_path: Path) -> None:
    """With a hub that hangs the process ends in its time; its records stay on disk, and the next process sends them."""
    server = upstream(answering)
    running = process(server.url, own_broker.conn_str, PROXY_SHUTDOWN_SECONDS=str(SHUTDOWN_SECONDS))
    calls(running, 1)
    arrive(own_broker, 1)
    wait_until(lambda: at_rest(running))
    own_broker.process.send_signal(signal.SIGSTOP)
    ids = calls(running, 20)
    running.signal(signal.SIGTERM)
    assert in_time(running) == ENDED
    assert {record["trace_id"] for record in spooled(tmp_path / "spool")} == ids
    own_broker.process.send_signal(signal.SIGCONT)
    process(server.url, own_broker.conn_str)
    assert ids <= {record["trace_id"] for record in arrive(own_broker, 21)}
    wait_until(lambda: spooled(tmp_path / "spool") == [])


def test_a_process_that_hangs(upstream: Any, own_broker: Broker, tmp_path: Path) -> None:
    """Whatever hangs, and be it the interpreter itself: the process ends hard, and says where it was."""
    settings = environ(upstream(answering).url, own_broker.conn_str, tmp_path, PROXY_SHUTDOWN_SECONDS="1")
    with closing_all() as started:
        running = ProxyProcess(settings, app="tests.kit.hanging:create_app").wait_started()
        started.append(running)
        calls(running, 1)
        running.signal(signal.SIGINT)
        assert in_time(running, 1 + GRACE_S) == 1
    assert "Timeout (0:00:03)!\n" in running.output
    assert any("in search" in line for line in running.output)


@pytest.mark.parametrize("frozen", [pytest.param(False, marks=pytest.mark.heavy), True])
def test_with_workers(upstream: Any, process: Any, own_broker: Broker, tmp_path: Path, frozen: bool) -> None:
    """With `--workers 2` each worker ends as a single process does; what they leave the next process sends."""
    server = upstream(answering)
    running = process(server.url, own_broker.conn_str, "--workers", "2", PROXY_SHUTDOWN_SECONDS=str(SHUTDOWN_SECONDS))
    wait_until(lambda: sum("Application startup complete" in line for line in running.output) == 2)
    if frozen:
        own_broker.process.send_signal(signal.SIGSTOP)
    ids = calls(running, 20)
    running.signal(signal.SIGTERM)
    assert in_time(running) == 0  # as uvicorn's parent of workers gives it
    own_broker.process.send_signal(signal.SIGCONT)
    if frozen:
        assert {record["trace_id"] for record in spooled(tmp_path / "spool")} == ids
        process(server.url, own_broker.conn_str)
    assert {record["trace_id"] for record in arrive(own_broker, 20)} == ids
    wait_until(lambda: spooled(tmp_path / "spool") == [])


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_an_instance_whose_disk_dies_with_it(
    upstream: Any,
    process: Any,
    own_broker: Broker,
    tmp_path: Path,
    address: BlobAddress,  # noqa: F811
    container: ContainerClient,  # noqa: F811
) -> None:
    """With a container set, what a stopping instance could not send is there, and any other instance sends it."""
    blobs = {"AZURE_BLOB_CONTAINER_URL": str(address.container_url), "AZURE_BLOB_CONN_STR": str(address.conn_str)}
    server = upstream(answering)
    running = process(server.url, own_broker.conn_str, PROXY_SHUTDOWN_SECONDS="10", **blobs)
    calls(running, 1)
    arrive(own_broker, 1)
    own_broker.process.send_signal(signal.SIGSTOP)
    ids = calls(running, 20)
    running.signal(signal.SIGTERM)
    assert in_time(running, 10) == ENDED
    assert names(container) != []
    shutil.rmtree(tmp_path / "spool")
    own_broker.process.send_signal(signal.SIGCONT)
    process(server.url, own_broker.conn_str, **blobs)
    assert ids <= {record["trace_id"] for record in arrive(own_broker, 21)}
    wait_until(lambda: names(container) == [])
