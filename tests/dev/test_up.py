"""`python -m dev.up` as a newcomer runs it: what it shows, what it serves, and that it leaves nothing behind."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dev.up_process import PATIENCE_S, READY, ROOT, SERVING, Up, alive


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    with Up() as running:
        running.wait_for(SERVING)
        yield running


def test_it_shows_one_call_from_end_to_end(up: Up) -> None:
    """Chunk timings, span tree and record are of one call, and the record has been through the hub."""
    chunks, spans = up.section("Its chunks"), up.section("Its spans")
    record = json.loads(up.section("Its record"))

    first_chunk = re.search(r"(\d+) ms first chunk", chunks)
    first_token = re.search(r"(\d+) ms first token", chunks)
    assert first_chunk
    assert first_token
    assert int(first_chunk[1]) <= int(first_token[1])  # what a busy machine reads at once has one time
    assert f"last of {record['chunks']} chunks" in chunks
    assert len(re.findall(r"\d+ \S+", chunks.split("chunks", 1)[1])) == record["chunks"]

    assert f"trace {record['trace_id']} " in spans
    assert re.search(r"SERVER POST .*\n.*CLIENT chat gpt-4o", spans, re.DOTALL)
    for event in ("gen_ai.first_chunk", "gen_ai.first_token", "gen_ai.end_of_stream"):
        assert event in spans

    assert record["type"] == "stream_completion"
    assert record["content"] in up.section("One streamed call")
    assert record["usage"]["total_tokens"] > 0


def test_without_a_terminal_the_lines_are_plain(up: Up) -> None:
    """No control codes in a pipe, and nothing is wider than 100 columns."""
    up.wait_for(SERVING)
    assert "\x1b" not in up.output
    assert "\r" not in up.output
    record = up.section("Its record")
    wide = [line for line in up.output.splitlines() if len(line) > 100 and line not in record]
    assert not wide


def test_the_printed_curl_command_streams_and_its_record_follows(up: Up) -> None:
    """The command works as it is printed; then comes a line with the x-trace-id of its answer."""
    if shutil.which("curl") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("curl is not installed")
    command = up.section("Serving").strip()
    assert command.startswith("curl ")
    answer = subprocess.run(
        ["sh", "-c", f"{command} --silent --show-error --max-time 100"], capture_output=True, text=True, check=True
    ).stdout
    assert answer.startswith("HTTP/1.1 200 ")
    assert answer.count("\ndata: {") > 10
    assert answer.rstrip().endswith("data: [DONE]")
    trace_id = re.search(r"(?m)^x-trace-id: (\w{32})", answer)
    assert trace_id
    line = up.wait_for(rf"(?m)^\d\d:\d\d:\d\d  {trace_id[1]}  .*$")[0]
    assert re.search(r"  gpt-4o-\S+ +completed +4→\d+  \d+/\d+/\d+$", line)


def test_ctrl_c_ends_all_of_it() -> None:
    """SIGINT, in the middle of a call, ends every process at once and in good order."""
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
    """Even a SIGKILL of it alone leaves none of its processes behind."""
    with Up("--port", "0", TMPDIR=str(tmp_path)) as running:
        running.wait_for(READY)
        children = set(running.children())
        running.process.kill()
        deadline = time.monotonic() + PATIENCE_S
        while alive(children):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_it_ends_with_a_process_that_ends() -> None:
    """When one of its processes ends it says which and shows why, and ends with the others."""
    with Up("--port", "0", PROXY_TRACE_RATIO="7") as running:
        running.wait_for(r"(?m)^broker ")
        children = set(running.children())
        assert running.status() == 1
        assert not alive(children)
        assert "The proxy ended with status 1." in running.output
        assert running.output.endswith("PROXY_TRACE_RATIO must be a number from 0 to 1\n")


def test_a_taken_port_is_said_at_once() -> None:
    """Nothing is started when the proxy could not listen."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Up("--port", str(port)) as running:
            assert running.status() == 1
    assert running.output == f"Port {port} is not available (Address already in use): choose another with --port.\n"


def test_real_services_take_the_place_of_stand_ins(tmp_path: Path) -> None:
    """What AZURE_* names is used and not stood in for; SIGTERM ends it like Ctrl-C."""
    parent = ("--parent-pid", str(os.getpid()))
    azure = start("dev.azure_openai", "--key", "the-real-key", *parent)
    hubs = start("dev.event_hubs", "--dir", str(tmp_path), *parent)
    try:
        assert azure.stdout
        assert hubs.stdout
        environ = {
            "AZURE_OPENAI_BASE_URL": json.loads(azure.stdout.readline())["base_url"],
            "AZURE_OPENAI_KEY": "the-real-key",
            "AZURE_OPENAI_DEPLOYMENT": "gpt-4.1-mini",
            "AZURE_EVENTHUB_CONN_STR": json.loads(hubs.stdout.readline())["connection_string"],
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
        assert azure.poll() is None
        assert hubs.poll() is None
    finally:
        for process in (azure, hubs):
            process.terminate()
            process.communicate(timeout=PATIENCE_S)


def test_a_real_service_needs_a_deployment_to_call() -> None:
    """With AZURE_OPENAI_BASE_URL alone it says what is missing."""
    with Up("--port", "0", AZURE_OPENAI_BASE_URL="https://example.openai.azure.com") as running:
        assert running.status() == 1
        assert "AZURE_OPENAI_DEPLOYMENT" in running.output


def start(module: str, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", module, "--port", "0", *options], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
