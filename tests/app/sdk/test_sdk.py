"""Chat calls of the openai SDK: the record matches what the SDK received."""

import asyncio
from typing import Any

import pytest
from openai import AsyncAzureOpenAI

from tests.app.sdk.clients import Place, async_client, sync_client, user, v1_client
from tests.kit.azure import DATED, MODEL, Trace
from tests.kit.hub import HubReader
from tests.kit.proxy import ProxyThread

TOOL: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def recorded_calls(calls: Any) -> list[dict[str, str]]:
    """The SDK's tool calls in the record's form."""
    return [{"id": call.id, "name": call.function.name, "arguments": call.function.arguments} for call in calls]


def test_a_json_call(running: ProxyThread, trace: Trace) -> None:
    """A plain call through AzureOpenAI: the record has what the SDK received."""
    messages = user("What is a trace? ✨")
    with sync_client(running) as client:
        answer = client.chat.completions.create(
            model=MODEL, messages=messages, temperature=0.5, extra_headers=trace.headers
        )
    record = trace.record()
    assert answer.choices[0].message.content
    assert record["content"] == answer.choices[0].message.content
    assert answer.usage is not None
    assert record["usage"] == answer.usage.model_dump(exclude_none=True)
    assert (record["type"], record["status"], record["model"]) == ("completion", "completed", DATED)
    assert (record["deployment"], record["api_version"]) == (MODEL, "2024-10-21")
    assert record["prompt"] == messages
    assert record["region"] == "Sweden Central"
    assert record["response_id"] == answer.id
    assert "tool_calls" not in record


def test_a_streamed_call(running: ProxyThread, trace: Trace) -> None:
    """A stream through AsyncAzureOpenAI: text, usage and number of events are those that the SDK saw."""

    async def stream() -> list[Any]:
        async with async_client(running) as client:
            events = await client.chat.completions.create(
                model=MODEL,
                messages=user("What is latency?"),
                stream=True,
                stream_options={"include_usage": True},
                extra_headers=trace.headers,
            )
            return [event async for event in events]

    chunks = asyncio.run(stream())
    record = trace.record()
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text
    assert record["content"] == text
    assert record["usage"] == chunks[-1].usage.model_dump(exclude_none=True)
    assert record["chunks"] == len(chunks)
    assert (record["type"], record["status"], record["model"]) == ("stream_completion", "completed", DATED)
    assert record["finish_reasons"] == ["stop"]
    assert record["time_to_first_chunk_ms"] <= record["time_to_first_token_ms"] <= record["latency_ms"]


@pytest.mark.parametrize("streamed", [False, True])
def test_the_v1_surface(running: ProxyThread, trace: Trace, streamed: bool) -> None:
    """OpenAI's client with the base URL …/openai/v1: the deployment is the body's model, without an api-version."""
    with v1_client(running) as client:
        answer: Any = client.chat.completions.create(
            model="gpt-4o-mini", messages=user("Hello"), stream=streamed, extra_headers=trace.headers
        )
        if streamed:
            text = "".join(chunk.choices[0].delta.content or "" for chunk in answer if chunk.choices)
        else:
            text = answer.choices[0].message.content
    record = trace.record()
    assert text
    assert record["content"] == text
    assert (record["deployment"], record["model"]) == ("gpt-4o-mini", "gpt-4o-mini-2024-07-18")
    assert "api_version" not in record


@pytest.mark.parametrize("text", ["Weather?", "Weather in two places? [parallel]"])
def test_tool_calls(running: ProxyThread, hub: HubReader, text: str) -> None:
    """One or two tool calls, streamed or not, are recorded as the SDK assembles them."""
    whole, streamed = Trace(hub), Trace(hub)
    with sync_client(running) as client:
        answer = client.chat.completions.create(
            model=MODEL, messages=user(text), tools=[TOOL], extra_headers=whole.headers
        )
        with client.chat.completions.stream(
            model=MODEL, messages=user(text), tools=[TOOL], extra_headers=streamed.headers
        ) as events:
            final = events.get_final_completion()
    for trace, completion in ((whole, answer), (streamed, final)):
        record = trace.record()
        calls = completion.choices[0].message.tool_calls
        assert len(calls or ()) == (2 if "[parallel]" in text else 1)
        assert record["tool_calls"] == recorded_calls(calls)
        assert record["content"] == ""
        assert record["finish_reasons"] == ["tool_calls"]


def test_structured_output(running: ProxyThread, trace: Trace) -> None:
    """`chat.completions.parse` gets its object; the record has its text."""
    with sync_client(running) as client:
        answer = client.chat.completions.parse(
            model=MODEL, messages=user("A place"), response_format=Place, extra_headers=trace.headers
        )
    assert isinstance(answer.choices[0].message.parsed, Place)
    assert Place.model_validate_json(trace.record()["content"]) == answer.choices[0].message.parsed


def test_choices_refusal_and_reasoning_tokens(running: ProxyThread, hub: HubReader) -> None:
    """Several choices, a refusal and reasoning tokens each have their field."""
    several, refused, reasoned = Trace(hub), Trace(hub), Trace(hub)
    with sync_client(running) as client:
        ask = client.chat.completions.create
        choices = ask(model=MODEL, messages=user("Hello"), n=3, extra_headers=several.headers).choices
        refusal = ask(model=MODEL, messages=user("[refuse]"), extra_headers=refused.headers).choices[0].message
        usage = ask(model="o3", messages=user("Think"), extra_headers=reasoned.headers).usage
    assert [(one["index"], one["content"]) for one in several.record()["choices"]] == [
        (choice.index, choice.message.content) for choice in choices
    ]
    assert refusal.refusal
    assert refused.record()["refusal"] == refusal.refusal
    assert usage is not None
    assert usage.completion_tokens_details is not None
    counted = reasoned.record()["usage"]["completion_tokens_details"]["reasoning_tokens"]
    assert counted == usage.completion_tokens_details.reasoning_tokens


def test_concurrent_streams_stay_separate(running: ProxyThread, hub: HubReader) -> None:
    """Twenty concurrent streams of one async client do not mix, in the SDK or in the records."""
    traces = [Trace(hub) for _ in range(20)]

    async def stream(client: AsyncAzureOpenAI, number: int) -> str:
        events = await client.chat.completions.create(
            model=MODEL, messages=user(f"Number {number}"), stream=True, extra_headers=traces[number].headers
        )
        return "".join([event.choices[0].delta.content or "" async for event in events if event.choices])

    async def streams() -> list[str]:
        async with async_client(running) as client:
            return await asyncio.gather(*(stream(client, number) for number in range(20)))

    texts = asyncio.run(streams())
    for number, trace in enumerate(traces):
        assert trace.record()["content"] == texts[number]
        assert trace.record()["prompt"] == user(f"Number {number}")
