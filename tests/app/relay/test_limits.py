"""Large calls: every byte passes, and the process holds no more of them than necessary.

One process serves all of these tests. Those that need most memory come last: freed memory would hide growth.
"""

import asyncio
import hashlib
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.relay.stage import Stage
from tests.kit.hub import Broker, HubReader
from tests.kit.linux import needs_proc
from tests.kit.proxy import ProxyProcess
from tests.kit.scripts import answering
from tests.kit.upstream import Reply, Seen
from tests.kit.wire import CHAT, DONE, ROLE, STOP, TEXT, USAGE, Client, chat_body, chat_json, client, delta, event

MB = 1 << 20
FILES = "/openai/files?api-version=2024-10-21"
STREAMED = chat_body(stream=True, stream_options={"include_usage": True})


class Memory:
    """The growth of resident memory of a process, in MB, since this was created."""

    def __init__(self, pid: int) -> None:
        needs_proc()
        self._folder = Path("/proc") / str(pid)
        self._before = self._read("VmRSS")
        self.begin_peak()

    def begin_peak(self) -> None:
        """Reset the peak."""
        (self._folder / "clear_refs").write_text("5")  # proc(5)

    @property
    def growth(self) -> float:
        return self._read("VmRSS") - self._before

    @property
    def peak(self) -> float:
        return self._read("VmHWM") - self._before

    def _read(self, name: str) -> float:
        found = re.search(rf"{name}:\s+(\d+) kB", (self._folder / "status").read_text())
        assert found
        return int(found[1]) / 1024


@pytest.fixture(scope="module")
def stage(broker: Broker, hub: HubReader, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A process that has served a call of each kind and sent the records."""
    with Stage(lambda given: ProxyProcess(given).wait_started(), broker, tmp_path_factory.mktemp("limits")) as started:
        started.play(answering)
        with client(started.url) as caller:
            for body in (chat_body(), STREAMED):
                answer = caller.send("POST", CHAT, body)
                answer.read()
                hub.record(answer.trace_id)
        yield started


@pytest.fixture
def caller(stage: Stage) -> Iterator[Client]:
    with client(stage.url) as connected:
        yield connected


def test_an_upload_of_30_mb_is_streamed(stage: Stage, caller: Client, hub: HubReader) -> None:
    """A form with a file passes chunk by chunk: upstream gets the same bytes, and memory hardly grows."""
    boundary = "----form"
    form = b"".join(
        [
            f'--{boundary}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'.encode(),
            f'--{boundary}\r\ncontent-disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'.encode(),
            bytes(range(256)) * (30 * MB // 256),
            f"\r\n--{boundary}--\r\n".encode(),
        ]
    )
    server, memory = stage.play(answering), Memory(stage.proxy.pid)
    answer = caller.send("POST", FILES, form, content_type=f"multipart/form-data; boundary={boundary}")
    assert answer.read() == chat_json()
    (seen,) = server.seen
    assert hashlib.sha256(seen.body).digest() == hashlib.sha256(form).digest()
    assert seen.header("content-length") == str(len(form))
    assert memory.peak < 10
    record = hub.record(answer.trace_id)
    assert (record["status"], record["request_bytes"], record["prompt"]) == ("completed", len(form), None)


def test_a_response_of_30_mb_is_streamed(stage: Stage, caller: Client, hub: HubReader) -> None:
    """It passes as it arrives. Only its end is read, so the record has the usage but not the text."""
    body = chat_json("ä" * (15 * MB))
    stage.play(lambda request, reply: reply.json(body))
    memory = Memory(stage.proxy.pid)
    answer = caller.chat()
    assert hashlib.sha256(answer.read()).digest() == hashlib.sha256(body).digest()
    assert memory.peak < 20
    record = hub.record(answer.trace_id)
    assert (record["status"], record["content"], record["usage"]) == ("completed", "", USAGE)
    assert (record["truncated"], record["response_bytes"]) == (True, len(body))


def test_a_stream_of_20_000_chunks_takes_little_memory(stage: Stage, caller: Client, hub: HubReader) -> None:
    """Memory grows by little more than the text; all of it arrives; the record is truncated to fit the hub."""
    words = [f"{number} is a number, and this is a text of sixty letters or more ✨ " for number in range(20_000)]
    stream = [ROLE, *(delta({"content": word}) for word in words), STOP, event({"choices": [], "usage": USAGE}), DONE]
    text = "".join(words)

    measured = asyncio.Event()

    async def script(request: Seen, reply: Reply) -> None:
        await reply.stream_head()
        for piece in stream[:-1]:
            await reply.chunk(piece)
        await measured.wait()  # making the record takes more memory
        await reply.chunk(stream[-1])
        await reply.end()

    server = stage.play(script)
    memory = Memory(stage.proxy.pid)
    answer = caller.send("POST", CHAT, STREAMED)
    before_last = b"".join(stream[:-1])
    received, growth = bytearray(), []
    while len(received) < len(before_last):
        received += answer.some()
        growth.append(memory.growth)
    server.loop.call_soon_threadsafe(measured.set)
    assert max(growth) < 10
    assert bytes(received) == before_last
    assert answer.read() == stream[-1]
    record = hub.record(answer.trace_id)
    assert memory.peak < 30
    assert (record["status"], record["chunks"], record["usage"]) == ("completed", len(stream) - 1, USAGE)
    assert record["truncated"] is True
    assert text.startswith(record["content"].removesuffix("…"))
    assert len(record["content"]) > len(text) // 4
    assert record["content_bytes"] > len(text.encode())


def test_upstream_is_read_no_faster_than_the_client_reads(stage: Stage, caller: Client, hub: HubReader) -> None:
    """A client that pauses also pauses upstream once the buffers are full; it then gets every byte."""
    piece, count = delta({"content": "x"}, obfuscation="x" * 65_000), 1500
    sent = 0
    paused = asyncio.Event()

    async def script(request: Seen, reply: Reply) -> None:
        nonlocal sent
        await reply.stream_head()
        for _ in range(count):  # a write that blocks for half a second is the only sign that nobody reads
            writing = asyncio.create_task(reply.chunk(piece))
            await asyncio.wait([writing], timeout=0.5)
            if not writing.done():
                paused.set()
            await writing
            sent += len(piece)
        paused.set()
        await reply.end()

    server = stage.play(script)
    memory = Memory(stage.proxy.pid)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.settimeout(120)
        connection.connect(("127.0.0.1", stage.proxy.port))
        caller.connection.sock = connection
        answer = caller.send("POST", CHAT, STREAMED)
        digest = hashlib.sha256(answer.some())
        asyncio.run_coroutine_threadsafe(paused.wait(), server.loop).result(60)
        assert sent < len(piece) * count / 2
        assert memory.growth < 10
        while more := answer.some():
            digest.update(more)
    assert digest.digest() == hashlib.sha256(piece * count).digest()
    assert hub.record(answer.trace_id)["content"] == "x" * count


def test_a_json_body_of_30_mb_is_released_after_its_call(stage: Stage, hub: HubReader) -> None:
    """It reaches upstream unchanged. Several copies are held, for a retry and the record, until the record is sent;
    then they are released: the next such call needs no more memory."""
    body = json.dumps({"messages": [{"role": "user", "content": "word " * (6 * MB)}], "seed": 1}).encode()
    server, memory, peaks = stage.play(answering), Memory(stage.proxy.pid), []
    for _ in range(2):
        server.seen.clear()
        memory.begin_peak()
        with client(stage.url) as caller:
            answer = caller.send("POST", CHAT, body)
            assert answer.read() == chat_json()
        (seen,) = server.seen
        assert hashlib.sha256(seen.body).digest() == hashlib.sha256(body).digest()
        record = hub.record(answer.trace_id)
        assert (record["status"], record["content"], record["usage"]) == ("completed", TEXT, USAGE)
        assert (record["truncated"], record["request_bytes"]) == (True, len(body))
        assert record["content_bytes"] > len(body)
        peaks.append(memory.peak)
    assert max(peaks) < 10 * len(body) / MB
    assert peaks[1] < peaks[0] + len(body) / MB


def test_an_open_stream_holds_its_request_at_most_twice(stage: Stage, hub: HubReader) -> None:
    """Once to estimate usage and once for the record, but not as it was sent upstream, with the usage request."""
    body = json.dumps({"messages": [{"role": "user", "content": "word " * (8 * MB)}], "stream": True}).encode()
    measured = asyncio.Event()

    async def script(request: Seen, reply: Reply) -> None:
        request.body = b""  # free it in this process
        await reply.stream_head()
        await reply.chunk(ROLE)
        await measured.wait()
        for piece in (STOP, DONE):
            await reply.chunk(piece)
        await reply.end()

    server, memory = stage.play(script), Memory(stage.proxy.pid)
    with client(stage.url) as caller:
        answer = caller.send("POST", CHAT, body)
        assert answer.some() == ROLE
        held = memory.growth
        server.loop.call_soon_threadsafe(measured.set)
        assert answer.read() == STOP + DONE
    assert held < 3.5 * len(body) / MB  # a third copy is freed, but not returned to the system
    assert hub.record(answer.trace_id)["request_bytes"] == len(body)
