"""The Azure OpenAI simulator behind a proxy, and traces that identify the records of a client's calls."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.kit.hub import ROOT, HubReader, Record

MODEL = "gpt-4.1-mini"
DATED = "gpt-4.1-mini-2025-04-14"
"""The model that the simulator names for that deployment."""


@contextmanager
def simulator() -> Iterator[str]:
    """The simulator's URL; it runs in its own process and requires the upstream's key."""
    arguments = ["--port=0", "--key=upstream-key-0", "--token-ms=1", "--first-token-ms=1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "dev.azure_openai", *arguments, f"--parent-pid={os.getpid()}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    with process.stdout:
        yield json.loads(process.stdout.readline())["base_url"]
        process.terminate()
        process.wait(60)


class Trace:
    """A trace that the client's caller started."""

    def __init__(self, hub: HubReader) -> None:
        self._hub = hub
        self.id = os.urandom(16).hex()
        self.parent = f"00-{self.id}-{os.urandom(8).hex()}-01"
        self.headers = {"traceparent": self.parent}

    def record(self) -> Record:
        """The record of its only call."""
        return self._hub.record(self.id)

    def records(self, count: int) -> list[Record]:
        """The records of its calls, in order."""
        return sorted(self._hub.records(self.id, count), key=lambda record: record["started_at"])
