"""The page that `python -m dev.up` starts: what was called can be looked at there, and it goes with the rest."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.dev.up_process import PATIENCE_S, ROOT, SERVING, Up, alive

SHOWN_S = 30.0


def calls(page: str) -> list[str]:
    """The traces of the calls that the page has."""
    with urlopen(f"{page}api/view", timeout=PATIENCE_S) as answer:
        found = json.load(answer)["calls"]
    traces = []
    for call in found:
        with urlopen(f"{page}api/call?id={call['id']}", timeout=PATIENCE_S) as answer:
            traces.append(json.load(answer)["trace_id"])
    return traces


def wait_for(page: str, count: int, seconds: float) -> list[str]:
    deadline = time.monotonic() + seconds
    while len(found := calls(page)) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} calls within {seconds} s"
        time.sleep(0.1)
    return found


@pytest.mark.heavy
def test_calls_are_on_the_page_within_seconds() -> None:
    """Ten calls by the printed command: soon after the last one all of them are on the page, each once."""
    with Up() as running:
        running.wait_for(SERVING)
        page = running.section("Page").strip()
        shown = json.loads(running.section("Its record"))["trace_id"]
        assert wait_for(page, 1, PATIENCE_S) == [shown]
        command = running.section("Serving").strip()
        for _ in range(10):
            subprocess.run(["sh", "-c", f"{command} --silent"], capture_output=True, check=True, timeout=PATIENCE_S)
        assert len(set(wait_for(page, 11, SHOWN_S))) == 11
        assert "cannot be read" not in running.output


@pytest.mark.heavy
def test_it_ends_with_the_rest(tmp_path: Path) -> None:
    """A consumer and the page's server end with it, also when it is killed; after a good end no file is left."""
    with Up("--port", "0", TMPDIR=str(tmp_path)) as running:
        running.wait_for(SERVING)
        children = running.children()
        assert len(children) == 5
        running.process.send_signal(signal.SIGINT)
        assert running.status() == 0
        assert not alive(set(children))
        assert not list(tmp_path.iterdir())
    with Up("--port", "0", TMPDIR=str(tmp_path)) as running:
        running.wait_for(SERVING)
        children = running.children()
        running.process.kill()
        deadline = time.monotonic() + PATIENCE_S
        while alive(set(children)):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_without_its_packages_there_is_no_page(tmp_path: Path) -> None:
    """What is missing is named, and all else goes on."""
    program = (
        "import importlib.util, runpy, sys\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *more: None if name == 'duckdb' else find(name, *more)\n"
        "sys.argv[1:] = ['--port', '0']\n"
        "runpy.run_module('dev.up', run_name='__main__')\n"
    )
    with Up(python=("-c", program)) as running:
        running.wait_for(SERVING)
        assert len(running.children()) == 3
        assert "It needs duckdb: pip install -r requirements-analytics.txt" in running.section("Page")


def test_a_tied_process_ends_with_its_stdin() -> None:
    """A module that knows nothing of it gets its own arguments, and SIGTERM when its starter is gone."""
    command = [sys.executable, "-m", "dev.tied", "http.server", "--bind", "127.0.0.1", "0"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin
    assert process.stdout
    process.stdin.close()
    assert process.wait(PATIENCE_S) == -signal.SIGTERM
    process.stdout.close()
