"""The page that `python -m dev.up` starts: it shows the calls, and stops with the rest."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.dev.up_process import PATIENCE_S, ROOT, SERVING, Up, alive
from tests.kit.hub import wait_until

SHOWN_S = 30.0


def calls(page: str) -> list[str]:
    """Trace ids of the calls on the page."""
    with urlopen(f"{page}api/view", timeout=PATIENCE_S) as answer:
        found = json.load(answer)["calls"]
    traces = []
    for call in found:
        with urlopen(f"{page}api/call?id={call['id']}", timeout=PATIENCE_S) as answer:
            traces.append(json.load(answer)["trace_id"])
    return traces


@pytest.mark.heavy
def test_calls_are_on_the_page_within_seconds() -> None:
    """Ten calls by the printed command are on the page within seconds of the last, each once."""
    with Up() as running:
        running.wait_for(SERVING)
        page = running.section("Page").strip()
        shown = json.loads(running.section("Its record"))["trace_id"]
        wait_until(lambda: calls(page) == [shown], PATIENCE_S)
        command = running.section("Serving").strip()
        for _ in range(10):
            subprocess.run(["sh", "-c", f"{command} --silent"], capture_output=True, check=True, timeout=PATIENCE_S)
        wait_until(lambda: len(calls(page)) >= 11, SHOWN_S)
        found = calls(page)
        assert len(found) == len(set(found)) == 11
        assert "cannot be read" not in running.output


@pytest.mark.heavy
def test_it_stops_with_the_rest(tmp_path: Path) -> None:
    """The consumer and the page's server stop with it, even if it is killed; a clean stop leaves no files."""
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
        wait_until(lambda: not alive(set(children)), PATIENCE_S)


def test_without_its_packages_there_is_no_page(tmp_path: Path) -> None:
    """The missing package is named, and everything else works."""
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


def test_a_tied_process_stops_when_stdin_ends() -> None:
    """An ordinary module gets its own arguments, and SIGTERM when its parent is gone."""
    command = [sys.executable, "-m", "dev.tied", "http.server", "--bind", "127.0.0.1", "0"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin
    assert process.stdout
    process.stdin.close()
    assert process.wait(PATIENCE_S) == -signal.SIGTERM
    process.stdout.close()
