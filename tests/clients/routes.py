"""Small programs of other languages, each run directly against the simulator and through the proxy: nothing may differ.

A program gets URL, KEY and TRACEPARENT in its environment and prints a line for each of its calls:
status, content type, a remark and the body in base64, separated by tabs.
"""

import base64
import json
import os
import re
import subprocess
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.kit.azure import MODEL, Trace
from tests.kit.hub import Record
from tests.kit.proxy import KEY

UPSTREAM_KEY = "upstream-key-0"
CHAT = f"/openai/deployments/{MODEL}/chat/completions?api-version=2024-10-21"
UPLOAD = f"/openai/deployments/{MODEL}/audio/transcriptions?api-version=2024-10-21"
NOT_UPSTREAM = {"upgrade", "http2-settings", "expect", "trailer", "x-apim-user-id", "x-late"}
_VARIES = re.compile(r'(?<="chatcmpl-)\w+|(?<="created":)[1-9]\d*')


class Call(NamedTuple):
    """One call as its program saw it; `note` is what else the program says about it."""

    status: int
    type: str
    note: str
    body: str

    @property
    def text(self) -> str:
        """The text of the answer: of a completion, of a stream, or of a transcript."""
        if self.type.startswith("text/event-stream"):
            events = [json.loads(line[6:]) for line in self.body.split("\n\n") if line and "[DONE]" not in line]
            return "".join(event["choices"][0]["delta"].get("content", "") for event in events if event["choices"])
        answer = json.loads(self.body)
        return answer["text"] if "text" in answer else answer["choices"][0]["message"]["content"]


@dataclass(frozen=True)
class Route:
    """Where a program sends its calls, and in which trace."""

    url: str
    key: str
    traceparent: str

    def run(self, command: Sequence[str], **environ: str) -> list[Call]:
        """Run a program and return its calls."""
        told = {"URL": self.url, "KEY": self.key, "TRACEPARENT": self.traceparent, "CHAT": CHAT, "UPLOAD": UPLOAD}
        ended = subprocess.run(
            command, env={**os.environ, **told, **environ}, capture_output=True, text=True, timeout=240, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return [_call(line) for line in ended.stdout.splitlines()]


class Routes:
    """The two routes to the simulator: direct, and through the proxy."""

    def __init__(self, azure: str, direct: str, proxied: str, trace: Trace) -> None:
        self._azure, self._trace = azure, trace
        self._direct = Route(direct, UPSTREAM_KEY, trace.parent)
        self._proxied = Route(proxied, KEY, trace.parent)

    def compare(self, program: Callable[[Route], list[Call]]) -> tuple[list[Call], list[Record]]:
        """The calls of a program and their records, in order. Both routes give the same, and the records match."""
        direct, expected = self._requests_of(program, self._direct)
        calls, requests = self._requests_of(program, self._proxied)
        assert calls == direct, (calls, direct)
        assert [call.status for call in calls] == [200] * len(calls), calls
        seen, due = sorted(map(_facts, requests)), sorted(map(_facts, expected))
        assert seen == due, (seen, due)
        for request in requests:
            assert not NOT_UPSTREAM & request["headers"].keys(), request["headers"]
        records = self._trace.records(len(calls))
        told, true = sorted(map(_told, records)), sorted(("completed", 200, call.text) for call in calls)
        assert told == true, (told, true)
        return calls, records

    def _requests_of(self, program: Callable[[Route], list[Call]], route: Route) -> tuple[list[Call], list[Any]]:
        """What a program saw, and what the simulator saw of it."""
        self._journal("DELETE")
        return program(route), self._journal("GET")["requests"]

    def _journal(self, method: str) -> Any:
        asked = urllib.request.Request(f"{self._azure}/_simulator/requests", method=method)
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return json.load(answer)


def call(status: int, content_type: str, note: str, body: bytes) -> Call:
    """A call without what differs each time: the ids and times of the answer."""
    return Call(status, content_type, note, _VARIES.sub("1", body.decode()))


def chat(prompt: str, **more: Any) -> bytes:
    """The body of a chat call."""
    return json.dumps({"messages": [{"role": "user", "content": prompt}], **more}).encode()


def _call(line: str) -> Call:
    status, content_type, note, body = line.split("\t")
    return call(int(status), content_type, note, base64.b64decode(body))


def _facts(request: Mapping[str, Any]) -> tuple[Any, ...]:
    """What the proxy may not change. A stream's body gets `stream_options`, and a form a boundary of its client's."""
    exact = request["headers"]["content-type"] == "application/json" and '"stream"' not in request["body"]
    return request["method"], request["path"], request["outcome"], request["body_sha256"] if exact else ""


def _told(record: Record) -> tuple[str, int, str]:
    return record["status"], record["http_status"], record["content"]
