"""openai-python's own sessions, unmodified, through the proxy: Realtime by both clients, and Responses."""

import asyncio
import json
from typing import Any

import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI, OpenAI
from websockets.asyncio.server import ServerConnection

from tests.app.sessions.service import Service
from tests.app.sessions.test_responses import answer
from tests.kit.hub import HubReader
from tests.kit.proxy import KEY

TEXT = "Hello there!"


async def realtime(connection: ServerConnection) -> None:
    """Answer each `response.create` with a text."""
    await connection.send(json.dumps({"type": "session.created", "session": {"id": "sess_1", "model": "gpt-realtime"}}))
    async for message in connection:
        if json.loads(message)["type"] != "response.create":
            continue
        content = [{"type": "output_text", "text": TEXT}]
        output = [{"id": "item_1", "type": "message", "role": "assistant", "content": content}]
        done = {"output": output, "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}}
        place = {"response_id": "resp_1", "item_id": "item_1", "output_index": 0, "content_index": 0}
        for event in (
            {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}},
            {"type": "response.output_text.delta", **place, "delta": TEXT},
            {
                "type": "response.done",
                "response": {"id": "resp_1", "status": "completed", **done},
            },
        ):
            await connection.send(json.dumps({"event_id": "event_1", **event}))


def record_of(hub: HubReader, service: Service) -> dict[str, Any]:
    trace_id = service.requests[-1].headers["traceparent"].split("-")[1]
    return hub.record(trace_id)


@pytest.mark.filterwarnings("ignore:connect.. must be used:DeprecationWarning")  # the SDK's own use of websockets
def test_realtime(service: Service, proxy: Any, hub: HubReader) -> None:
    """`client.realtime.connect()` of the v1 client."""
    service.script = realtime
    url = proxy(service.url).url
    client = OpenAI(
        base_url=f"{url}/openai/v1", api_key=KEY, websocket_base_url=f"{url.replace('http', 'ws')}/openai/v1"
    )
    with client.realtime.connect(model="gpt-realtime") as session:
        item: Any = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}
        session.conversation.item.create(item=item)
        session.response.create()
        texts = []
        for event in session:
            if event.type == "response.output_text.delta":
                texts.append(event.delta)
            if event.type == "response.done":
                break
    assert "".join(texts) == TEXT
    record = record_of(hub, service)
    assert (record["content"], record["operation"], record["deployment"]) == (TEXT, "realtime", "gpt-realtime")
    assert record["prompt"][0]["content"][0]["text"] == "Hi"
    assert record["usage"]["total_tokens"] == 7


def test_realtime_of_the_azure_client(service: Service, proxy: Any, hub: HubReader) -> None:
    """`AsyncAzureOpenAI.realtime`, which uses the preview's path and the key as a header."""
    service.script = realtime
    url = proxy(service.url).url

    async def talk() -> str:
        client = AsyncAzureOpenAI(
            azure_endpoint=url,
            api_key=KEY,
            api_version="2024-10-01-preview",
            websocket_base_url=f"{url.replace('http', 'ws')}/openai",
        )
        async with client.realtime.connect(model="gpt-4o-realtime-preview") as session:
            await session.response.create()
            async for event in session:
                if event.type == "response.done":
                    return event.response.id or ""
        return ""

    assert asyncio.run(talk()) == "resp_1"
    assert service.requests[0].path.startswith("/openai/realtime?")
    record = record_of(hub, service)
    assert (record["deployment"], record["api_version"]) == ("gpt-4o-realtime-preview", "2024-10-01-preview")


def test_responses(service: Service, proxy: Any, hub: HubReader) -> None:
    """`client.responses.connect()`."""
    service.script = answer
    url = proxy(service.url).url

    async def ask() -> str:
        client = AsyncOpenAI(
            base_url=f"{url}/openai/v1", api_key=KEY, websocket_base_url=f"{url.replace('http', 'ws')}/openai/v1"
        )
        async with client.responses.connect() as session:
            await session.response.create(model="gpt-5", input="Hi")
            async for event in session:
                if event.type == "response.completed":
                    return event.response.id
        return ""

    assert asyncio.run(ask()) == "resp_1"
    record = record_of(hub, service)
    assert (record["prompt"], record["content"], record["operation"]) == ("Hi", "answer 1", "chat")
