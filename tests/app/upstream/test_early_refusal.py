"""A server that refuses an upload midway: it responds, closes, and resets the connection for what it did not read."""

import asyncio
import contextlib
import errno
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import uvloop

from app.upstream import Origin, Pool, Request
from tests.app.upstream.conftest import Asking
from tests.conftest import StartUpstream
from tests.kit.hub import HubReader
from tests.kit.scripts import answering
from tests.kit.wire import client

REFUSAL = b'{"error":{"code":"413","message":"Too large."}}'
RESPONSE = b"HTTP/1.1 413 Payload Too Large\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (
    len(REFUSAL),
    REFUSAL,
)
TRIES = 25
PIECE = bytes(64 * 1024)


@pytest.fixture
def refusing() -> Iterator[int]:
    """The port of a server that refuses each upload after 100 KB of it."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):  # closed at the end
            while True:
                connection, _ = listening.accept()
                with connection:
                    received = 0
                    while received < 100_000 and (piece := connection.recv(65536)):
                        received += len(piece)
                    connection.sendall(RESPONSE)

    thread = threading.Thread(target=serve)
    thread.start()
    yield listening.getsockname()[1]
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join(10)


async def pieces() -> AsyncIterator[bytes]:
    for _ in range(200):
        yield PIECE


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
def test_the_response_is_read_although_the_upload_fails(
    refusing: int, new_loop: Callable[[], asyncio.AbstractEventLoop], streamed: bool
) -> None:
    """Each time, whichever comes first: the failed write or the response."""

    async def upload() -> list[tuple[int, bytes]]:
        pool = Pool()
        got = []
        for _ in range(TRIES):
            request = Request("POST", "/files", [], pieces() if streamed else PIECE * 200)
            answer = await pool.request(Origin("127.0.0.1", refusing, secure=False), request)
            got.append((answer.status, await answer.read(1000)))
        await pool.close()
        return got

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(upload()) == [(413, REFUSAL)] * TRIES


def test_a_client_gets_the_refusal_of_its_upload(refusing: int, proxy: Any, hub: HubReader) -> None:
    """Not a 502 of the proxy's; the record has the status."""
    running = proxy(f"http://127.0.0.1:{refusing}")
    traces = []
    for _ in range(TRIES):
        with client(running.url) as caller:
            answer = caller.send("POST", "/openai/files", (PIECE for _ in range(100)), content_type="text/plain")
            assert (answer.status, answer.read()) == (413, REFUSAL)
            traces.append(answer.trace_id)
    for trace_id in traces:
        record = hub.record(trace_id)
        assert (record["status"], record["http_status"]) == ("upstream_error", 413)


@pytest.mark.anyio
async def test_an_upload_needs_no_second_descriptor(
    upstream: StartUpstream, ask: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where none is left, the upload works all the same."""

    def none_left(descriptor: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "dup", none_left)
    answer = await ask(upstream(answering).url, body=pieces(), length=200 * len(PIECE))
    assert answer.status == 200
