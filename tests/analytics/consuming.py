"""The consumer as a process."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

from tests.analytics.kit import ROOT
from tests.kit.linux import needs_proc


class ConsumerProcess:
    """`python -m analytics.consume`, for tests that kill it."""

    def __init__(self, conn_str: str, table: Path | str, *options: str, program: str = "", **environ: str) -> None:
        """`program` is Python code to run first, for example to kill the process at a step."""
        start = ["-c", program + "\nimport runpy; runpy.run_module('analytics.consume', run_name='__main__')"]
        self.process = subprocess.Popen(
            [sys.executable, *(start if program else ["-m", "analytics.consume"]), "--table", str(table), *options],
            cwd=ROOT,
            env={**os.environ, "AZURE_EVENTHUB_CONN_STR": conn_str, **environ},
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait(self, seconds: float = 240) -> str:
        """Its stderr, once it has exited with 0."""
        _, said = self.process.communicate(timeout=seconds)
        assert self.process.returncode == 0, said
        return said

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=60)


def counts(said: str) -> tuple[int, int, int, int]:
    """Records, repeats, set aside and lag, from its last line."""
    pattern = r"([\d,]+) records .* ([\d,]+) repeats dropped, ([\d,]+) set aside, lag ([\d,]+)"
    found = re.findall(pattern, said)[-1]
    records, repeats, aside, lag = (int(number.replace(",", "")) for number in found)
    return records, repeats, aside, lag


def peak_memory(process: subprocess.Popen[str]) -> int:
    """The peak memory of a process in KiB, once it has exited; leaves its exit status to be collected.

    Of the program only: wait4 would include the process that it was forked from.
    """
    needs_proc()
    peak = 0
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
        peak = max(peak, int(found[1]) if found else 0)
        threading.Event().wait(0.1)
    return peak
