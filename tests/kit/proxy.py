"""The proxy under test: in a thread, where its spans can be watched, or in a process, which can be killed."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from aiohttp.test_utils import unused_port
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from app.main import create_app
from app.proxy_app import ProxyApp
from app.settings import Settings

ROOT = Path(__file__).parents[2]
KEY = "client-key-0"


class SpanList(SpanProcessor):
    """Keeps every span that ended."""

    def __init__(self) -> None:
        self.ended: list[ReadableSpan] = []
        self._more = threading.Condition()

    def on_end(self, span: ReadableSpan) -> None:
        with self._more:
            self.ended.append(span)
            self._more.notify_all()

    def of_trace(self, trace_id: str, count: int) -> list[ReadableSpan]:
        """The spans of a trace, as soon as there are `count` of them."""

        def found() -> list[ReadableSpan]:
            return [span for span in self.ended if f"{span.context.trace_id:032x}" == trace_id]

        with self._more:
            assert self._more.wait_for(lambda: len(found()) >= count, 10), [s.name for s in self.ended]
        return found()


class ProxyThread:
    """uvicorn with the app in a thread of this process."""

    def __init__(self, environ: dict[str, str]) -> None:
        self.spans = SpanList()
        self.app: ProxyApp = create_app(Settings.from_environ(environ), [self.spans])
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
        self._thread.join(30)
        assert not self._thread.is_alive(), "the proxy did not stop"


class ProxyProcess:
    """`uvicorn app.main:create_app --factory`, as an operator starts it."""

    def __init__(self, environ: dict[str, str], *arguments: str, app: str = "app.main:create_app") -> None:
        self.port = unused_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", app, "--factory", f"--port={self.port}", *arguments],
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
        assert self._started.wait(60), "".join(self.output)
        assert self._process.poll() is None, "".join(self.output)
        return self

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float) -> int:
        code = self._process.wait(seconds)
        self._reader.join(5)
        return code

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self.wait(10)

    def _read(self) -> None:
        assert self._process.stdout
        with self._process.stdout as lines:
            for line in lines:
                self.output.append(line)
                if "Uvicorn running on" in line:
                    self._started.set()
        self._started.set()


@contextlib.contextmanager
def closing_all() -> Iterator[list[ProxyThread | ProxyProcess]]:
    """Close whatever was put in the list."""
    started: list[ProxyThread | ProxyProcess] = []
    try:
        yield started
    finally:
        for proxy in started:
            proxy.close()
