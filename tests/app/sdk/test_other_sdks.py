"""Anthropic's SDK and azure-ai-inference, unmodified, through the proxy: as without it, and each call a record."""

import json
from pathlib import Path
from typing import Any

import pytest
from anthropic import AnthropicFoundry, AuthenticationError
from anthropic.types import TextBlock, ThinkingBlock, ToolUseBlock
from azure.ai.inference import ChatCompletionsClient, EmbeddingsClient
from azure.core.credentials import AzureKeyCredential

from tests.kit.hub import HubReader
from tests.kit.proxy import KEY
from tests.kit.upstream import Reply, Seen
from tests.kit.wire import delta, event

RECORDED = {
    path.stem: json.loads(path.read_text())
    for path in (Path(__file__).parents[1] / "operations/recorded_messages").glob("*.json")
}


@pytest.fixture
def claude(upstream: Any, proxy: Any) -> Any:
    """A client of a proxy whose upstream answers as an exchange was recorded, and that upstream."""

    def start(name: str, key: str = KEY) -> tuple[AnthropicFoundry, Any]:
        exchange = RECORDED[name]

        async def script(request: Seen, reply: Reply) -> None:
            if request.target.endswith("count_tokens"):
                await reply.json(b'{"input_tokens": 14}')
            elif name.startswith("stream"):
                await reply.stream_head()
                for one in exchange["body"].encode().split(b"\n\n"):
                    if one:
                        await reply.chunk(one + b"\n\n")
                await reply.end()
            else:
                await reply.json(exchange["body"].encode(), headers={"request-id": "req_1"})

        server = upstream(script)
        running = proxy(server.url)
        return AnthropicFoundry(api_key=key, base_url=f"{running.url}/anthropic", max_retries=0), server

    return start


def body(name: str) -> dict[str, Any]:
    sent: dict[str, Any] = json.loads(RECORDED[name]["request_body"])
    sent.pop("stream", None)
    return sent


def only_record(hub: HubReader, server: Any) -> dict[str, Any]:
    """The record of the one call, by the trace that upstream saw."""
    (seen,) = server.seen
    return hub.record((seen.header("traceparent") or "").split("-")[1])


def test_a_message_with_tools(claude: Any, hub: HubReader) -> None:
    """Its blocks, and the record of it; the client's key stays here."""
    client, server = claude("json_tools")
    message = client.messages.create(**body("json_tools"))
    calls = [block for block in message.content if isinstance(block, ToolUseBlock)]
    assert [call.name for call in calls] == ["get_weather", "get_time"]
    assert message.usage.output_tokens == 152
    record = only_record(hub, server)
    assert [call["name"] for call in record["tool_calls"]] == ["get_weather", "get_time"]
    assert (record["request_id"], record["usage"]["prompt_tokens"]) == ("req_1", 514)
    assert KEY not in str(server.seen[0].headers)


def test_a_stream_with_thinking(claude: Any, hub: HubReader) -> None:
    """By the SDK's own helper, which assembles the message."""
    client, server = claude("stream_thinking")
    with client.messages.stream(**body("stream_thinking")) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    thinking, answer = message.content
    assert isinstance(thinking, ThinkingBlock)
    assert isinstance(answer, TextBlock)
    assert answer.text == text
    record = only_record(hub, server)
    assert (record["content"], record["reasoning"]) == (text, thinking.thinking)
    assert record["usage"]["completion_tokens"] == message.usage.output_tokens


def test_a_count_of_tokens(claude: Any, hub: HubReader) -> None:
    """It passes, and is a record without usage."""
    client, server = claude("json_tools")
    counted = client.messages.count_tokens(model="claude", messages=[{"role": "user", "content": "Hi"}])
    assert counted.input_tokens == 14
    assert only_record(hub, server)["operation"] == "count_tokens"


def test_a_wrong_key(claude: Any) -> None:
    """The SDK reads the proxy's own error as one of Anthropic's."""
    client, _ = claude("json_tools", key="wrong")
    with pytest.raises(AuthenticationError) as refused:
        client.messages.create(**body("json_tools"))
    assert refused.value.body["error"]["type"] == "authentication_error"  # type: ignore[index]


def test_other_models(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """azure-ai-inference: chat, streamed too, and embeddings; its path, query and headers pass."""
    chunks = [
        delta({"content": "Hel"}),
        delta({"content": "lo"}),
        event({"choices": [], "usage": None}),
        b"data: [DONE]\n\n",
    ]
    answer = {"id": "1", "model": "phi-4", "created": 1, "choices": [{"index": 0, "message": {"content": "Hello"}}]}
    vectors = {"id": "1", "model": "e", "data": [{"index": 0, "embedding": [0.5]}], "usage": {"prompt_tokens": 2}}

    async def script(request: Seen, reply: Reply) -> None:
        if "embeddings" in request.target:
            await reply.json(json.dumps(vectors).encode())
        elif json.loads(request.body).get("stream"):
            await reply.stream_head()
            for chunk in chunks:
                await reply.chunk(chunk)
            await reply.end()
        else:
            await reply.json(json.dumps(answer).encode())

    server = upstream(script)
    url = f"{proxy(server.url).url}/models"
    client = ChatCompletionsClient(url, AzureKeyCredential(KEY))
    messages: list[Any] = [{"role": "user", "content": "Hi"}]
    assert (
        client.complete(messages=messages, model="phi-4", model_extras={"safe": True}).choices[0].message.content
        == "Hello"
    )
    streamed = client.complete(messages=messages, model="phi-4", stream=True)
    assert "".join(update.choices[0].delta.content or "" for update in streamed if update.choices) == "Hello"
    EmbeddingsClient(url, AzureKeyCredential(KEY)).embed(input=["a"], model="e")
    records = [hub.record((seen.header("traceparent") or "").split("-")[1]) for seen in server.seen]
    assert [record["operation"] for record in records] == ["chat", "chat", "embeddings"]
    assert [record["content"] for record in records] == ["Hello", "Hello", ""]
    assert all("/models/" in seen.target and "api-version=" in seen.target for seen in server.seen)
    assert server.seen[0].header("extra-parameters") == "pass-through"
