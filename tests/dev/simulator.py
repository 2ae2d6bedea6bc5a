"""Service: the Azure OpenAI simulator in a process, called through the openai library or by plain HTTP."""

import functools
import json
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from openai import AzureOpenAI, OpenAI

ROOT = Path(__file__).resolve().parents[2]

KEY = "a-key-for-tests"

CHAT = "/openai/v1/chat/completions"

SURFACES = ("azure", "v1")

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        },
    },
}


@functools.cache
def azure(url: str, api_version: str = "2024-10-21", key: str = KEY) -> AzureOpenAI:
    return AzureOpenAI(azure_endpoint=url, api_key=key, api_version=api_version, max_retries=0, timeout=60)


@functools.cache
def v1(url: str, key: str = KEY) -> OpenAI:
    return OpenAI(base_url=f"{url}/openai/v1", api_key=key, max_retries=0, timeout=60)


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@dataclass(frozen=True)
class Service:
    """A running simulator."""

    process: subprocess.Popen[str]
    url: str

    def client(self, surface: str = "azure", **options: str) -> Any:
        return azure(self.url, **options) if surface == "azure" else v1(self.url, **options)

    def chat(self, text: str, simulate: str = "", surface: str = "azure", **more: Any) -> Any:
        """Request a chat completion through the client library."""
        options = {"model": "prod", "messages": user(text), "extra_headers": {"x-simulate": simulate}} | more
        return self.client(surface).chat.completions.create(**options)

    def respond(self, text: str, simulate: str = "", surface: str = "v1", **more: Any) -> Any:
        """Request a response through the client library."""
        options = {"model": "prod", "input": text, "extra_headers": {"x-simulate": simulate}} | more
        return self.client(surface).responses.create(**options)

    def request(
        self, method: str, path: str, body: object = None, **headers: str | None
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request without the client library; return status, headers in lower case, and body."""
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        sent = {"api-key": KEY} | {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {name: value for name, value in sent.items() if value is not None}
        request = urllib.request.Request(self.url + path, data, sent, method=method)
        try:
            response = urllib.request.urlopen(request, timeout=60)
        except HTTPError as error:
            response = error
        with response:
            return response.status, {k.lower(): v for k, v in response.headers.items()}, response.read()

    def events(self, simulate: str = "", **body: Any) -> list[Any]:
        """Return the data of each event of a streamed chat, decoded except for [DONE]."""
        body = {"model": "prod", "messages": user("Hello"), "stream": True} | body
        status, headers, response = self.request("POST", CHAT, body, x_simulate=simulate)
        assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        data = [event.removeprefix("data: ") for event in response.decode().split("\n\n")[:-1]]
        return [event if event == "[DONE]" else json.loads(event) for event in data]

    def seen(self) -> Any:
        return json.loads(self.request("GET", "/_simulator/requests")[2])


def start(*options: str) -> Service:
    command = [sys.executable, "-m", "dev.azure_openai", "--port", "0", *options]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    assert ready["base_url"] == f"http://127.0.0.1:{ready['port']}"
    return Service(process, ready["base_url"])
