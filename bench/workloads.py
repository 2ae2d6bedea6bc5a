"""The workloads: request and response sizes, connections and duration."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

API_VERSION: Final = "2024-10-21"
KEY: Final = "sk-bench-client-key"


@dataclass(frozen=True, slots=True)
class Workload:
    """`deployment` tells the mock upstream what to send: json-BYTES, or stream-CHUNKS-PAUSE in microseconds."""

    name: str
    what: str
    deployment: str
    connections: int
    prompt_bytes: int = 1000
    share: float = 1.0
    """Share of a run during which calls start; 0: each connection makes one call."""
    spread: float = 0.0
    """Seconds over which the first calls of the connections are spread."""

    @property
    def stream(self) -> bool:
        return self.deployment.startswith("stream-")

    @property
    def chunks(self) -> int:
        """Number of chunks in one stream."""
        return int(self.deployment.split("-")[1])

    def write_request(self, path: Path, traced: bool) -> None:
        """Write the whole HTTP request; `traced` adds a sampled traceparent with a new trace per call."""
        body = json.dumps(self._body(), separators=(",", ":")).encode()
        head = [
            f"POST /openai/deployments/{self.deployment}/chat/completions?api-version={API_VERSION} HTTP/1.1",
            "host: 127.0.0.1",
            "user-agent: AzureOpenAI/Python 2.8.1",
            f"api-key: {KEY}",
            "accept: application/json",
            "content-type: application/json",
            f"content-length: {len(body)}",
        ]
        if traced:
            head.append("traceparent: 00-%trace%-00f067aa0ba902b7-01")
        path.write_bytes("\r\n".join([*head, "", ""]).encode() + body)

    def _body(self) -> dict[str, object]:
        words = ("Say it again, and say it slowly. " * (self.prompt_bytes // 33 + 1))[: self.prompt_bytes]
        messages = [{"role": "system", "content": "You are helpful."}, {"role": "user", "content": words}]
        # for proxies that read the model from the body
        return {"model": self.deployment, "messages": messages, **({"stream": True} if self.stream else {})}


JSON_1K: Final = Workload("json-1k", "JSON, request and response of 1 KB, 32 connections", "json-1024", 32)
JSON_20K: Final = Workload("json-20k", "JSON, request and response of 20 KB, 32 connections", "json-20480", 32, 20_000)
PROMPT_200K: Final = Workload(
    "prompt-200k", "prompt of 200 KB, response of 1 KB, 8 connections", "json-1024", 8, 200_000
)
STREAMS_50: Final = Workload(
    "streams-50", "50 streams x 100 chunks, 10 ms apart", "stream-100-10000", 50, share=1.5, spread=1
)
STREAMS_FAST: Final = Workload("streams-fast", "50 streams x 100 chunks without pauses", "stream-100-0", 50, share=0.5)
STREAMS_500: Final = Workload(
    "streams-500", "500 streams x 20 chunks per second", "stream-80-50000", 500, share=0, spread=1.5
)
STREAMS_1000: Final = Workload(
    "streams-1000", "1,000 streams x 20 chunks per second", "stream-80-50000", 1000, share=0, spread=1.5
)
STREAM_LONG: Final = Workload(
    "stream-long", "one stream of 20,000 chunks, 0.25 ms apart", "stream-20000-250", 1, share=0
)
WORKLOADS: Final = (
    JSON_1K,
    JSON_20K,
    PROMPT_200K,
    STREAMS_50,
    STREAMS_FAST,
    STREAMS_500,
    STREAMS_1000,
    STREAM_LONG,
)
