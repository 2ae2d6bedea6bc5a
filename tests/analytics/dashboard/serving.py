"""The page's server as a process, and requests to it over its socket."""

import json
import subprocess
import sys
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

from analytics.folder import LocalFolder
from analytics.rows import parse, table_of
from analytics.table import Part, by_hour, encoded
from tests.analytics.kit import ROOT


class Dashboard:
    """`python -m analytics.dashboard` on a free port, stopped at the end of its `with`."""

    def __init__(self, table: Path, *options: str) -> None:
        command = [sys.executable, "-m", "analytics.dashboard", "--table", str(table), "--port", "0", *options]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.url = self.process.stdout.readline().strip()
        self.port = urlsplit(self.url).port

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.terminate()
        self.process.communicate(timeout=60)

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[HTTPResponse, bytes]:
        """Send one request; header names have _ for -."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def get(self, path: str, **query: str | int) -> Any:
        """The JSON of a response, which must be 200."""
        response, body = self.ask(f"{path}?{urlencode(query)}")
        assert response.status == 200, body
        return json.loads(body)


def add(table: Path, *bodies: bytes, first: int, last: int | None = None) -> Path:
    """Write records of one hour to a table, as the file of a range of events; return the file."""
    rows = table_of([parse(body) for body in bodies])
    ((hour, of_hour),) = by_hour(rows).items()
    name = Part(hour, "ab", "0", first, first + rows.num_rows - 1 if last is None else last).name
    LocalFolder(table).write(name, encoded(of_hour))
    return table / name
