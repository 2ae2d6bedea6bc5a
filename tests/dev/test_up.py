"""`python -m dev.up` as a new user runs it: its output, its services, and that it leaves nothing behind."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dev.event_hubs.process import BrokerProcess
from tests.dev.simulator import start
from tests.dev.up_process import PATIENCE_S, READY, SERVING, Up, alive
from tests.kit.hub import wait_until


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    with Up() as running:
        running.wait_for(SERVING)
        yield running


def test_it_shows_one_call_end_to_end(up: Up) -> None:
    """Chunk times, span tree and record belong to one call, and the record comes from the hub."""
    chunks, spans = up.section("Its chunks"), up.section("Its spans")
    record = json.loads(up.section("Its record"))

    first_chunk = re.search(r"(\d+) ms first chunk", chunks)
    first_token = re.search(r"(\d+) ms first token", chunks)
    assert first_chunk
    assert first_token
    assert int(first_chunk[1]) <= int(first_token[1])  # chunks read together on a busy machine have the same time
    assert f"last of {record['chunks']} chunks" in chunks
    assert len(re.findall(r"\d+ \S+", chunks.split("chunks", 1)[1])) == record["chunks"]

    assert f"trace {record['trace_id']} " in spans
    assert re.search(r"SERVER POST .*\n.*CLIENT chat gpt-4o", spans, re.DOTALL)
    for event in ("gen_ai.first_chunk", "gen_ai.first_token", "gen_ai.end_of_stream"):
        assert event in spans

    assert record["type"] == "stream_completion"
    assert record["content"] in up.section("One streamed call")
    assert record["usage"]["total_tokens"] > 0


def test_output_to_a_pipe_is_plain(up: Up) -> None:
    """Without a terminal there are no control codes, and no line is wider than 100 columns."""
    up.wait_for(SERVING)
    assert "\x1b" not in up.output
    assert "\r" not in up.output
    record = up.section("Its record")
    wide = [line for line in up.output.splitlines() if len(line) > 100 and line not in record]
    assert not wide


def test_the_printed_curl_command_streams_and_its_record_follows(up: Up) -> None:
    """The command works as printed; then a line with the x-trace-id of its response follows."""
    if shutil.which("curl") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("curl is not installed")
    command = up.section("Serving").strip()
    assert command.startswith("curl ")
    response = subprocess.run(
        ["sh", "-c", f"{command} --silent --show-error --max-time 100"], capture_output=True, text=True, check=True
    ).stdout
    assert response.startswith("HTTP/1.1 200 ")
    assert response.count("\ndata: {") > 10
    assert response.rstrip().endswith("data: [DONE]")
    trace_id = re.search(r"(?m)^x-trace-id: (\w{32})", response)
    assert trace_id
    line = up.wait_for(rf"(?m)^\d\d:\d\d:\d\d  {trace_id[1]}  .*$")[0]
    assert re.search(r"  gpt-4o-\S+ +completed +4→\d+  \d+/\d+/\d+$", line)


def test_ctrl_c_stops_everything() -> None:
    """SIGINT during a call stops all processes quickly and cleanly."""
    began = time.monotonic()
    with Up() as running:
        running.wait_for(r"(?m)^── One streamed call ")
        began, started_in = time.monotonic(), time.monotonic() - began
        children = running.children()
        assert len(children) == 3
        running.process.send_signal(signal.SIGINT)
        assert running.status() == 0
        assert time.monotonic() - began < max(5, started_in)
        assert not alive(set(children))
        assert running.output.endswith("\nStopping …\nStopped.\n")
        assert "Traceback" not in running.output


def test_no_process_outlives_it(tmp_path: Path) -> None:
    """Its processes end with it, even on SIGKILL."""
    with Up("--port", "0", TMPDIR=str(tmp_path)) as running:
        running.wait_for(READY)
        children = set(running.children())
        running.process.kill()
        wait_until(lambda: not alive(children), PATIENCE_S)


def test_it_stops_when_one_of_its_processes_ends() -> None:
    """When a process ends, it names it, shows its log, and stops the others."""
    with Up("--port", "0", PROXY_TRACE_RATIO="7") as running:
        running.wait_for(r"(?m)^broker ")
        children = set(running.children())
        assert running.status() == 1
        assert not alive(children)
        assert "The proxy ended with status 1." in running.output
        assert running.output.endswith("PROXY_TRACE_RATIO must be a number from 0 to 1\n")


def test_a_taken_port_is_reported_first() -> None:
    """Nothing is started if the proxy cannot listen."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Up("--port", str(port)) as running:
            assert running.status() == 1
    assert running.output == f"Port {port} is not available (Address already in use): choose another with --port.\n"


def test_real_services_replace_stand_ins(tmp_path: Path) -> None:
    """Services that AZURE_* names get no stand-ins; SIGTERM works like Ctrl-C."""
    azure = start("--key", "the-real-key", "--parent-pid", str(os.getpid()))
    with azure.process, BrokerProcess(tmp_path) as broker:
        environ: dict[str, Any] = {
            "AZURE_OPENAI_BASE_URL": azure.url,
            "AZURE_OPENAI_KEY": "the-real-key",
            "AZURE_OPENAI_DEPLOYMENT": "gpt-4.1-mini",
            "AZURE_EVENTHUB_CONN_STR": broker.connection_string,
            "PROXY_SPOOL_DIR": str(tmp_path / "spool"),
        }
        with Up("--port", "0", **environ) as running:
            running.wait_for(SERVING)
            (proxy,) = running.children().values()
            assert "uvicorn" in proxy
            record = json.loads(running.section("Its record"))
            assert (record["deployment"], record["status"]) == ("gpt-4.1-mini", "completed")
            assert "the-real-key" not in running.output
            running.process.send_signal(signal.SIGTERM)
            assert running.status() == 0
        assert azure.process.poll() is None
        assert broker.process.poll() is None
        azure.process.terminate()


def test_a_real_service_needs_a_deployment_to_call() -> None:
    """With AZURE_OPENAI_BASE_URL alone it names what is missing."""
    with Up("--port", "0", AZURE_OPENAI_BASE_URL="https://example.openai.azure.com") as running:
        assert running.status() == 1
        assert "AZURE_OPENAI_DEPLOYMENT" in running.output
