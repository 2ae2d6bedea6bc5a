"""The proxy under test: in a thread, where its spans are visible, or in a process, which can be killed."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from app.main import create_app
from app.operations import FAMILIES, Families
from app.proxy_app import ProxyApp
from app.settings.settings import Settings

ROOT = Path(__file__).parents[2]
KEY = "client-key-0"
RUNNING = re.compile(r"Uvicorn running on http://[\d.]+:(\d+)")
A_LITTLE_S = 5.0
"""Added to PROXY_SHUTDOWN_SECONDS: 15 s in total at the default of 10, if a process starts in a second or two."""


class SpanList(SpanProcessor):
    """Keeps every ended span."""

    def __init__(self) -> None:
        self.ended: list[ReadableSpan] = []
        self._more = threading.Condition()

    def on_end(self, span: ReadableSpan) -> None:
        with self._more:
            self.ended.append(span)
            self._more.notify_all()

    def of_trace(self, trace_id: str, count: int) -> list[ReadableSpan]:
        """The spans of a trace, once there are `count` of them."""

        def found() -> list[ReadableSpan]:
            return [span for span in self.ended if f"{span.context.trace_id:032x}" == trace_id]

        with self._more:
            assert self._more.wait_for(lambda: len(found()) >= count, 60), [s.name for s in self.ended]
        return found()


class ProxyThread:
    """uvicorn with the app in a thread of this process."""

    def __init__(self, environ: dict[str, str], families: Families = FAMILIES) -> None:
        self.spans = SpanList()
        self.app: ProxyApp = create_app(Settings.from_environ(environ), [self.spans], families)
        config = uvicorn.Config(self.app, host="127.0.0.1", port=0, log_level="warning", lifespan="on")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the proxy did not start"
            threading.Event().wait(0.005)
        self.port: int = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(60)
        assert not self._thread.is_alive(), "the proxy did not stop"


class ProxyProcess:
    """`uvicorn app.main:create_app --factory`, as an operator starts it."""

    def __init__(self, environ: dict[str, str], *arguments: str, app: str = "app.main:create_app") -> None:
        self._born = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", app, "--factory", "--port=0", *arguments],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "TMPDIR": environ["PROXY_SPOOL_DIR"], **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output: list[str] = []
        self._started = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_started(self) -> "ProxyProcess":
        assert self._started.wait(120), "".join(self.output)
        assert self._process.poll() is None, "".join(self.output)
        self.started_in = time.monotonic() - self._born
        """Seconds: a measure of how busy the machine is."""
        (self.port,) = (int(told[1]) for line in self.output if (told := RUNNING.search(line)))
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float) -> int:
        code = self._process.wait(seconds)
        self._reader.join(60)
        return code

    def wait_in_time(self, shutdown_seconds: float) -> int:
        """The exit status after a signal; fails if the process exceeds its shutdown time plus a margin."""
        return self.wait(shutdown_seconds + max(A_LITTLE_S, 3 * self.started_in))

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self.wait(60)

    def _read(self) -> None:
        assert self._process.stdout
        with self._process.stdout as lines:
            for line in lines:
                self.output.append(line)
                if RUNNING.search(line):
                    self._started.set()
        self._started.set()


def on_disk(spool: Path) -> str:
    """The content of a proxy's files, except those that are deleted meanwhile because they were sent."""
    texts = []
    for path in spool.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            texts += [path.read_text()] if path.is_file() else []
    return "".join(texts)


@contextlib.contextmanager
def closing_all() -> Iterator[list[ProxyThread | ProxyProcess]]:
    """Close everything that was appended to the list."""
    started: list[ProxyThread | ProxyProcess] = []
    try:
        yield started
    finally:
        for proxy in started:
            proxy.close()
