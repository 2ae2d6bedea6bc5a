"""Clients as users have them: installed as published, in front of a proxy process and the simulator behind it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import environ
from tests.kit.hub import Broker, HubReader, Record
from tests.kit.proxy import ProxyProcess

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
CACHE = ROOT / ".cache/clients"


class Trace:
    """A trace that begins with the client's caller, by which the records of its calls are found."""

    def __init__(self, hub: HubReader) -> None:
        self._hub = hub
        self.id = os.urandom(16).hex()
        self.parent = f"00-{self.id}-{os.urandom(8).hex()}-01"

    def record(self) -> Record:
        return self._hub.record(self.id)

    def records(self, count: int) -> list[Record]:
        """In the order of their calls."""
        return sorted(self._hub.records(self.id, count), key=lambda record: record["started_at"])


@pytest.fixture
def trace(hub: HubReader) -> Trace:
    return Trace(hub)


@pytest.fixture(scope="session")
def simulator() -> Iterator[str]:
    """The simulator's URL; it lets in only those with the upstream's key."""
    paces = ["--token-ms=1", "--first-token-ms=1"]
    arguments = ["--port=0", "--key=upstream-key-0", *paces, f"--parent-pid={os.getpid()}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "dev.azure_openai", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    with process.stdout:
        yield json.loads(process.stdout.readline())["base_url"]
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="session")
def running(simulator: str, broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    """A proxy before the simulator."""
    spool = tmp_path_factory.mktemp("clients") / "spool"
    process = ProxyProcess(environ(simulator, broker.conn_str, spool))
    try:
        yield process.wait_started()
    finally:
        process.close()


@pytest.fixture(scope="session")
def installed() -> Path:
    """Where the JavaScript clients are, once; a skip where they cannot be had, and a failure in CI."""
    try:
        subprocess.run(["node", "--version"], check=True, capture_output=True)
        _install()
    except (OSError, subprocess.SubprocessError) as fault:
        missing = f"the JavaScript clients need Node, npm and its registry: {fault}"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    for script in HERE.glob("*.mjs"):  # imports are looked for beside the file that has them
        shutil.copy(script, CACHE)
    return CACHE


def _install() -> None:
    """Bring .cache/clients to what package-lock.json pins. Raises OSError or SubprocessError."""
    pins = [HERE / "package.json", HERE / "package-lock.json"]
    if all((CACHE / pin.name).exists() and (CACHE / pin.name).read_bytes() == pin.read_bytes() for pin in pins):
        return
    new = CACHE.with_name(f"clients-{os.getpid()}")
    new.mkdir(parents=True)
    try:
        for pin in pins:
            shutil.copy(pin, new)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        subprocess.run(command, cwd=new, check=True, timeout=600)
        shutil.rmtree(CACHE, ignore_errors=True)
        new.rename(CACHE)
    finally:
        shutil.rmtree(new, ignore_errors=True)
