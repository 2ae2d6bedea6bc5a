"""StreamedCall: one streamed chat through the openai SDK, with the arrival time of every chunk at the client."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx2
from openai import AsyncAzureOpenAI, DefaultAsyncHttpxClient, OpenAIError
from openai.types.chat import ChatCompletionChunk

from dev.up.proxy import Proxy


@dataclass(frozen=True, slots=True)
class Chunk:
    """When a chunk arrived, in milliseconds after the request was sent, and what it holds."""

    at_ms: float
    text: str
    generated: bool
    """Whether `text` is the model's output; otherwise it names the kind of chunk."""


@dataclass(slots=True)
class StreamedCall:
    """What the client knows about its call."""

    trace_id: str = field(default_factory=lambda: secrets.token_hex(16))
    parent_id: str = field(default_factory=lambda: secrets.token_hex(8))
    """The client's span, the parent of the proxy's."""
    chunks: list[Chunk] = field(default_factory=list)
    fault: str | None = None
    _sent: float = field(default=0.0, init=False, repr=False)

    async def run(self, proxy: Proxy, prompt: str, on_text: Callable[[str], None]) -> None:
        """Make the call; `on_text` gets each piece of text as it arrives. An error is stored in `fault`."""
        http = DefaultAsyncHttpxClient(trust_env=False, event_hooks={"request": [self._on_sending]})
        client = AsyncAzureOpenAI(
            azure_endpoint=proxy.url,
            api_key=proxy.key,
            api_version=proxy.api_version,
            max_retries=0,
            http_client=http,
        )
        async with client:
            try:
                stream = await client.chat.completions.create(
                    model=proxy.deployment,
                    messages=[{"role": "user", "content": prompt}],
                    stream=True,
                    stream_options={"include_usage": True},
                    extra_headers={"traceparent": f"00-{self.trace_id}-{self.parent_id}-01"},
                )
                async for event in stream:
                    chunk = self._chunk(event)
                    self.chunks.append(chunk)
                    if chunk.generated:
                        on_text(chunk.text)
            except (OpenAIError, httpx2.HTTPError) as fault:
                self.fault = str(fault)

    async def _on_sending(self, request: httpx2.Request) -> None:
        self._sent = time.perf_counter()

    def _chunk(self, event: ChatCompletionChunk) -> Chunk:
        at_ms = (time.perf_counter() - self._sent) * 1000
        if not event.choices:
            return Chunk(at_ms, "usage" if event.usage else "filter", False)
        choice = event.choices[0]
        # the asynchronous filter sends chunks without a delta, contrary to the SDK's types
        if choice.delta is None:
            return Chunk(at_ms, "filter", False)
        if choice.delta.content:
            return Chunk(at_ms, choice.delta.content, True)
        return Chunk(at_ms, choice.finish_reason or ("role" if choice.delta.role else "empty"), False)
