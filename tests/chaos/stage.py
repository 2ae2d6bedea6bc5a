"""The stage: the proxy, its hub, its upstream, its clients and a probe, each in a process of its own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from tests.chaos.cores import require_proc
from tests.chaos.load import MadeCall
from tests.chaos.probe import Probe
from tests.conftest import environ
from tests.kit.hub import Broker, Record
from tests.kit.ports import held_port

ROOT = Path(__file__).parents[2]
CALM_RATE = 50.0


class WaitTimedOut(Exception):
    """A condition did not become true in time."""


def wait_for(what: str, condition: Callable[[], bool], seconds: float) -> None:
    """Wait for a condition. Raises WaitTimedOut."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise WaitTimedOut(what)
        time.sleep(0.05)


def start(module: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a module of these tests as a process."""
    return subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def stop(process: subprocess.Popen[str]) -> None:
    """Stop a process with SIGTERM and wait for it."""
    process.terminate()
    process.wait(120)
    if process.stdout:
        process.stdout.close()


def get(url: str) -> Any:
    """GET a URL and parse the JSON. Raises OSError."""
    with urllib.request.urlopen(url, timeout=60) as response:
        return json.load(response)


class Hub:
    """The broker, which can be killed, frozen and throttled, and restarts on the same port and events."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._broker = Broker(directory)
        self.conn_str = self._broker.conn_str

    def kill(self) -> None:
        self._broker.kill()

    def start(self) -> None:
        self._broker = Broker(self._directory, "--port", str(self._broker.port))

    def freeze(self) -> None:
        self._broker.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._broker.process.send_signal(signal.SIGCONT)

    def throttle(self, on: bool) -> None:
        self._broker.set_faults(busy=on)

    def count(self) -> int:
        return cast(int, self._broker.stats()["events_total"])

    def records(self) -> list[Record]:
        """All records that arrived, partition by partition."""
        found: list[Record] = []
        for partition in range(4):
            url = f"http://127.0.0.1:{self._broker.control_port}/events?partition={partition}"
            found += [json.loads(event["body"]) for event in get(url)["events"]]
        return found

    def close(self) -> None:
        self.thaw()
        self._broker.close()


class Proxy:
    """`uvicorn app.main:create_app --factory`, always on the same port and spool."""

    def __init__(self, directory: Path, upstream_url: str, conn_str: str) -> None:
        self._port_lock = contextlib.ExitStack()
        self.port = self._port_lock.enter_context(held_port())
        self.url = f"http://127.0.0.1:{self.port}"
        self.spool = directory / "spool"
        self.pid_file = directory / "pid"
        self._log = (directory / "proxy.log").open("ab")
        self._environ = {"PATH": os.environ["PATH"], **environ(upstream_url, conn_str, self.spool)}
        self._process: subprocess.Popen[bytes]
        self.start()

    def start(self) -> None:
        """Start it and wait until it is live."""
        command = [sys.executable, "-m", "uvicorn", "app.main:create_app", "--factory", f"--port={self.port}"]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=self._environ, stdout=self._log, stderr=subprocess.STDOUT
        )
        self.pid_file.write_text(str(self._process.pid))
        wait_for("the proxy is live", self._is_live, 120)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> float:
        """Stop it with SIGTERM; return the seconds it cpu."""
        began = time.monotonic()
        self._process.terminate()
        self._process.wait(60)
        return time.monotonic() - began

    def backlog(self) -> int:
        return cast(int, get(f"{self.url}/health/ready")["records"]["backlog"])

    def lost(self) -> dict[str, int]:
        return cast(dict[str, int], get(f"{self.url}/health/ready")["records"]["lost"])

    def cpu(self) -> float:
        """CPU seconds so far."""
        user, system = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(") ")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """Resident memory in MB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024

    def spooled(self) -> bool:
        """Whether any process's directory still holds records."""
        for path in self.spool.glob("*/*"):
            with contextlib.suppress(FileNotFoundError):  # just sent
                if path.stat().st_size:
                    return True
        return False

    def close(self) -> None:
        if self._process.poll() is None:
            self.kill()
        self._log.close()
        self._port_lock.close()

    def _is_live(self) -> bool:
        if self._process.poll() is not None:
            raise WaitTimedOut("the proxy starts")
        with contextlib.suppress(OSError):
            return bool(get(f"{self.url}/health/live"))
        return False


@dataclass
class Stage:
    """All processes, and samples of the proxy's memory by the monotonic clock."""

    directory: Path
    upstream_url: str
    hub: Hub
    proxy: Proxy
    memory: list[tuple[float, float]] = field(default_factory=list)

    def seen(self) -> list[tuple[int, str, str]]:
        """The calls that upstream saw: number, trace id, span id."""
        return [(number, trace, span) for number, trace, span in get(f"{self.upstream_url}/seen")]

    def count(self) -> int:
        return cast(int, get(f"{self.upstream_url}/count"))

    def run_for(self, seconds: float) -> None:
        """Let the load run for `seconds`, and sample the memory."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            with contextlib.suppress(OSError):
                self.memory.append((time.monotonic(), self.proxy.memory()))
            time.sleep(min(0.25, left))

    def cost_per_call(self) -> float:
        """CPU seconds that the proxy takes per call on this machine now, the probe included."""
        with self.load(CALM_RATE):
            self.run_for(2.0)  # opens connections, fills caches
            cpu, calls = self.proxy.cpu(), self.count()
            self.run_for(4.0)
            cpu, calls = self.proxy.cpu() - cpu, self.count() - calls
        return cpu / calls

    @contextlib.contextmanager
    def load(self, rate: float) -> Iterator[None]:
        """Run clients and a probe during the block; `calls` and `probes` return their results."""
        load = start("tests.chaos.load", self.proxy.url, str(self.directory / "calls"), f"--rate={rate}")
        probe = start("tests.chaos.probe", self.proxy.url, str(self.proxy.pid_file), str(self.directory / "probes"))
        try:
            yield
        finally:
            stop(load)
            stop(probe)

    def calls(self) -> list[MadeCall]:
        return [tuple(json.loads(line)) for line in (self.directory / "calls").read_text().splitlines()]

    def probes(self) -> list[Probe]:
        return [tuple(json.loads(line)) for line in (self.directory / "probes").read_text().splitlines()]

    def drain(self, seconds: float) -> None:
        """Wait until all spools are empty. Raises WaitTimedOut."""
        wait_for("the backlog is drained", lambda: self.proxy.backlog() == 0 and not self.proxy.spooled(), seconds)


@contextlib.contextmanager
def stage(directory: Path) -> Iterator[Stage]:
    """Start everything; stop it at the end of the block. Raises NeedsLinux."""
    require_proc()
    upstream = start("tests.chaos.upstream")
    upstream_url = f"http://127.0.0.1:{upstream.stdout.readline().strip()}"
    hub = Hub(directory / "hub")
    try:
        proxy = Proxy(directory, upstream_url, hub.conn_str)
        try:
            yield Stage(directory, upstream_url, hub, proxy)
        finally:
            proxy.close()
    finally:
        hub.close()
        stop(upstream)
