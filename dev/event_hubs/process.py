"""BrokerProcess: starts the stand-in for Event Hubs, sets its faults and reads what it stored."""

import json
import os
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import IO, Self, cast


class BrokerProcess:
    """A running broker, stopped at the end of the `with` block. Calls block; for tests and scripts."""

    def __init__(self, directory: Path, *options: str) -> None:
        """Start a broker and wait until it listens; options are those of `python -m dev.event_hubs`."""
        command = [sys.executable, "-m", "dev.event_hubs", "--port", "0", "--dir", str(directory)]
        self.process = subprocess.Popen(
            [*command, "--parent-pid", str(os.getpid()), *options],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        first_line = cast(IO[str], self.process.stdout).readline()
        if not first_line:
            raise RuntimeError(f"the broker ended with status {self.process.wait()}")
        ready = json.loads(first_line)
        self.port: int = ready["port"]
        self.control_port: int = ready["control_port"]
        self.connection_string: str = ready["connection_string"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> int:
        """Stop it with SIGTERM and return its exit status."""
        self.process.terminate()
        return self._wait()

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self.process.kill()
        self._wait()

    def _wait(self) -> int:
        try:
            return self.process.wait(60)
        finally:
            cast(IO[str], self.process.stdout).close()

    def set_faults(self, **faults: object) -> None:
        """Set faults, as named in dev.event_hubs.faults. Raises ValueError for unknown ones."""
        self._request("POST", "/faults", faults)

    def clear_faults(self) -> None:
        self._request("DELETE", "/faults")

    def stats(self) -> dict[str, object]:
        return self._request("GET", "/stats")

    def events(self) -> list[dict[str, object]]:
        """The stored events, partition by partition, in order."""
        return cast(list[dict[str, object]], self._request("GET", "/events")["events"])

    def _request(self, method: str, path: str, body: object = None) -> dict[str, object]:
        connection = HTTPConnection("127.0.0.1", self.control_port, timeout=30)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            content = cast(dict[str, object], json.loads(response.read()))
        finally:
            connection.close()
        if response.status != 200:
            raise ValueError(content["error"])
        return content
