"""The mock upstream and the load generator: what they send, and that they detect any change to it."""

import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from bench.process import Process, processors
from bench.tools import compiled
from bench.workloads import Workload

pytestmark = pytest.mark.skipif(
    not shutil.which("cc") and os.environ.get("CI") != "true", reason="needs a C compiler: apt install gcc libc6-dev"
)
JSON = Workload("json", "", "json-1024", 4, 5000)
STREAMS = Workload("streams", "", "stream-30-1000", 20, share=0, spread=0.005)


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    process = Process([compiled("upstream")], tmp_path_factory.mktemp("upstream") / "log", processors()[1])
    yield int(process.first_line())
    process.stop()


@pytest.fixture
def load(tmp_path: Path) -> Callable[[int, Workload], tuple[int, Any]]:
    def run(port: int, workload: Workload) -> tuple[int, Any]:
        workload.write_request(tmp_path / "request", traced=True)
        command = [str(compiled("load")), str(port), str(workload.connections), str(0.5 * workload.share)]
        done = subprocess.run(
            [*command, str(workload.spread), str(tmp_path / "request")],
            stdout=subprocess.PIPE,
            timeout=120,
            check=False,
        )
        return done.returncode, json.loads(done.stdout)

    return run


def test_every_chunk_of_every_stream_is_counted(upstream: int, load: Callable[..., tuple[int, Any]]) -> None:
    """Each of 20 streams has 30 chunks, and takes at least as long as their pauses."""
    status, seen = load(upstream, STREAMS)
    assert (status, seen["calls"], seen["chunks"], seen["wrong"], seen["failed"]) == (0, 20, 600, 0, 0)
    assert seen["first_byte_us"]["count"] == 20
    assert 0 < seen["age_us"]["count"] <= 600
    assert seen["whole_us"]["p50"] >= 29_000


def test_json_has_the_requested_size(upstream: int, load: Callable[..., tuple[int, Any]]) -> None:
    """Each response has the number of bytes that its deployment names."""
    status, seen = load(upstream, JSON)
    assert status == 0
    assert seen["calls"] > 4
    assert seen["bytes"] == 1024 * seen["calls"]


@pytest.mark.parametrize("stream", [{"include_usage": True}, None])
def test_usage_is_sent_only_if_requested(upstream: int, stream: dict[str, bool] | None) -> None:
    """A stream has a chunk with usage exactly if the request asks for it, like Azure OpenAI."""
    connection = HTTPConnection("127.0.0.1", upstream, timeout=60)
    body = json.dumps({"stream": True, "stream_options": stream})
    connection.request("POST", "/openai/deployments/stream-5-0/chat/completions", body)
    events = connection.getresponse().read().decode().split("\n\n")
    connection.close()
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
    assert events[-2:] == ["data: [DONE]", ""]
    assert [chunk["usage"] for chunk in chunks if chunk.get("usage")] == (
        [{"completion_tokens": 3, "prompt_tokens": 200, "total_tokens": 203}] if stream else []
    )
    assert len(chunks) == 5 + bool(stream)


@pytest.mark.parametrize("workload", [JSON, STREAMS])
@pytest.mark.parametrize(
    "corrupt",
    [
        lambda data: data.replace(b"safe", b"sofe", 1),
        lambda data: data.replace(b"hate", b"haet", 1),
    ],
    ids=["a byte changed", "two bytes swapped"],
)
def test_changed_bytes_are_detected(
    upstream: int, load: Callable[..., tuple[int, Any]], workload: Workload, corrupt: Callable[[bytes], bytes]
) -> None:
    """A response that a proxy changed is counted as wrong, and the load exits with status 1."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_relay, args=(listener, upstream, corrupt), daemon=True).start()
        one = Workload(workload.name, "", workload.deployment, 1, share=0)
        status, seen = load(listener.getsockname()[1], one)
    assert (status, seen["calls"], seen["wrong"]) == (1, 1, 1)


def _relay(listener: socket.socket, upstream: int, corrupt: Callable[[bytes], bytes]) -> None:
    """Relay one connection and corrupt the response."""
    client, _ = listener.accept()
    with client, socket.create_connection(("127.0.0.1", upstream)) as server:
        server.sendall(client.recv(65536))
        while data := server.recv(65536):
            client.sendall(corrupt(data))
