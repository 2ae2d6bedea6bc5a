"""The measured cost of a process."""

import os
import sys
import time
from pathlib import Path

import pytest

from bench.process import Clock, NotStarted, Process, processors

BUSY = "import time\nwhile time.process_time() < 0.2: pass\n"


def test_cpu_covers_the_process_tree(tmp_path: Path) -> None:
    """Ended threads and running children count; a waiting process costs nothing."""
    script = f"""
import subprocess, sys, threading
def spin():
    {BUSY.replace(chr(10), chr(10) + "    ")}
thread = threading.Thread(target=spin)
thread.start()
thread.join()
child = subprocess.Popen([sys.executable, "-c", {BUSY!r} + "print(flush=True); input()"], stdin=-1, stdout=-1)
child.stdout.readline()
print("ready", flush=True)
child.wait()
"""
    process = Process([sys.executable, "-c", script], tmp_path / "log", processors()[1])
    try:
        assert process.first_line() == "ready\n"
        spent = process.cpu_us()
        assert 400_000 <= spent < 2_000_000
        time.sleep(0.1)
        assert process.cpu_us() - spent < 50_000
        assert process.memory_mb() > 10
    finally:
        process.stop()


def test_stolen_time_is_a_share_of_total_time() -> None:
    """An interval without ticks has no share stolen."""
    assert Clock(1_100, 30).share_stolen_since(Clock(1_000, 20)) == 0.1
    assert Clock(1_000, 20).share_stolen_since(Clock(1_000, 20)) == 0.0


def test_the_clock_counts_our_processors() -> None:
    """After ten busy ticks, total time has advanced, and stolen time by no more."""
    before, until = Clock.now(), time.process_time() + 10 / os.sysconf("SC_CLK_TCK")
    while time.process_time() < until:
        pass
    found = Clock.now()
    assert found.total > before.total
    assert 0 <= found.stolen - before.stolen <= found.total - before.total


def test_a_program_with_a_missing_interpreter_is_named(tmp_path: Path) -> None:
    """E.g. one of a virtual environment whose Python was removed."""
    program = tmp_path / "program"
    program.write_text("#!/gone/python\n")
    program.chmod(0o700)
    with pytest.raises(NotStarted, match=f"^{program} 8080 could not be run: No such file or directory"):
        Process([program, "8080"], tmp_path / "log", processors()[1])
