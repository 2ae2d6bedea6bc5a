"""Responses in Azure OpenAI's shapes, and a client that sees every byte and every boundary."""

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.kit.proxy import KEY

CHAT = "/openai/deployments/chat-deployment/chat/completions?api-version=2024-10-21"
PROMPT = [{"role": "user", "content": "Tell me a joke ✨"}]
SAFE = {"hate": {"filtered": False, "severity": "safe"}}
AZURE_HEADERS = {
    "x-ms-region": "East US 2",
    "apim-request-id": "90ada254-7916-4e05-a761-c290afc3ea2a",
    "x-ms-client-request-id": "5d1c0c4e-3a4a-4a5b-b9b5-0f5d0f4f5e11",
    "x-ratelimit-remaining-tokens": "119968",
    "x-ms-is-spilled-over": "false",
    "Date": "Thu, 25 Apr 2024 09:22:53 GMT",
}


def event(payload: dict[str, Any] | str) -> bytes:
    """One server-sent event, as Azure frames it."""
    text = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
    return b"data: " + text.encode() + b"\n\n"


def delta(content: dict[str, Any], finish_reason: str | None = None, index: int = 0, **more: Any) -> bytes:
    """A `chat.completion.chunk` with one choice."""
    choice = {
        "content_filter_results": SAFE if content.get("content") else {},
        "delta": content,
        "finish_reason": finish_reason,
        "index": index,
        "logprobs": None,
    }
    return event({"choices": [choice], **CHUNK, **more})


CHUNK = {
    "created": 1714036974,
    "id": "chatcmpl-9HpbaAXyt0cAnlWvI8kUAFpZt5jyQ",
    "model": "gpt-4.1-mini-2025-04-14",
    "object": "chat.completion.chunk",
    "system_fingerprint": "fp_b6f445fc1c",
}
FILTER_FIRST = event(
    {
        "choices": [],
        "created": 0,
        "id": "",
        "model": "",
        "object": "",
        "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": SAFE}],
    }
)
ROLE = delta({"content": "", "role": "assistant"})
WORDS = ["Why", " did", " the", " developer", " bring", " Öl", "?"]
STOP = delta({}, "stop")
DONE = event("[DONE]")
USAGE = {
    "completion_tokens": 7,
    "completion_tokens_details": {"reasoning_tokens": 0},
    "prompt_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 4},
    "total_tokens": 19,
}
STREAM = [FILTER_FIRST, ROLE, *(delta({"content": word}) for word in WORDS), STOP, DONE]
STREAM_WITH_USAGE = [  # each other event says that it has no usage
    *(one.replace(b"}\n\n", b',"usage":null}\n\n') for one in STREAM[:-1]),
    event({"choices": [], **CHUNK, "usage": USAGE}),
    DONE,
]
TEXT = "".join(WORDS)


def chat_json(content: str | None = TEXT, **message: Any) -> bytes:
    """A `chat.completion`."""
    return json.dumps(
        {
            "choices": [
                {
                    "content_filter_results": SAFE,
                    "finish_reason": "stop",
                    "index": 0,
                    "logprobs": None,
                    "message": {"content": content, "refusal": None, "role": "assistant", **message},
                }
            ],
            **CHUNK,
            "object": "chat.completion",
            "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": SAFE}],
            "usage": USAGE,
        },
        ensure_ascii=False,
    ).encode()


def chat_body(stream: bool = False, **more: Any) -> bytes:
    return json.dumps({"messages": PROMPT, **({"stream": True} if stream else {}), **more}).encode()


class Answer:
    """A response as the client received it."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers = response.getheaders()

    def header(self, name: str) -> str | None:
        return self._response.getheader(name)

    @property
    def trace_id(self) -> str:
        found = self.header("x-trace-id")
        assert found, "no x-trace-id"
        return found

    def read(self) -> bytes:
        return self._response.read()

    def some(self) -> bytes:
        """What is available, at least one byte."""
        return self._response.read1(1 << 20)

    def take(self, expected: bytes) -> None:
        """Read exactly these bytes, and leave the rest of the body unread."""
        received = b""
        while received != expected:
            more = self._response.read1(len(expected) - len(received))
            assert more, received
            received += more
            assert expected.startswith(received), received


class Client:
    """One connection to the proxy, kept alive between requests."""

    def __init__(self, url: str) -> None:
        self.connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=120)

    def send(self, method: str, target: str, body: Any = None, **headers: str) -> Answer:
        named = {"api-key": KEY, "content-type": "application/json"}
        named.update({name.replace("_", "-"): value for name, value in headers.items()})
        self.connection.request(method, target, body, {name: value for name, value in named.items() if value})
        return Answer(self.connection.getresponse())

    def chat(self, stream: bool = False, **headers: str) -> Answer:
        return self.send("POST", CHAT, chat_body(stream), **headers)

    def leave(self) -> None:
        """Disconnect, and return when the proxy has noticed: it then closes its side too."""
        self.connection.sock.shutdown(socket.SHUT_WR)
        while self.connection.sock.recv(65536):
            pass

    def close(self) -> None:
        self.connection.close()


@contextmanager
def client(url: str) -> Iterator[Client]:
    connected = Client(url)
    try:
        yield connected
    finally:
        connected.close()
