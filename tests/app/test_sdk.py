"""The openai SDK, unmodified, through the proxy to the simulator: what it sees, and what is recorded of it."""

import asyncio
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncAzureOpenAI, AzureOpenAI, OpenAI
from pydantic import BaseModel

from tests.kit.hub import HubReader, Record
from tests.kit.proxy import KEY, ProxyThread

ROOT = Path(__file__).parents[2]
MODEL = "gpt-4.1-mini"
DATED = "gpt-4.1-mini-2025-04-14"
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture(scope="module")
def azure() -> Iterator[str]:
    """The simulator in its own process, which lets in only those with the upstream's key."""
    arguments = [
        "--port=0",
        "--key=upstream-key-0",
        "--token-ms=1",
        "--first-token-ms=1",
        f"--parent-pid={os.getpid()}",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "dev.azure_openai", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    with process.stdout:
        yield json.loads(process.stdout.readline())["base_url"]
        process.terminate()
        process.wait(10)


@pytest.fixture
def running(azure: str, proxy: Any) -> ProxyThread:
    """A proxy before the simulator."""
    started: ProxyThread = proxy(azure)
    return started


def sync_client(running: ProxyThread, key: str = KEY) -> AzureOpenAI:
    return AzureOpenAI(azure_endpoint=running.url, api_key=key, api_version="2024-10-21", max_retries=0)


def async_client(running: ProxyThread) -> AsyncAzureOpenAI:
    return AsyncAzureOpenAI(azure_endpoint=running.url, api_key=KEY, api_version="2024-10-21", max_retries=0)


def v1_client(running: ProxyThread) -> OpenAI:
    return OpenAI(base_url=f"{running.url}/openai/v1", api_key=KEY, max_retries=0)


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


class Trace:
    """A trace that begins with the SDK's caller, by which the record of its call is found."""

    def __init__(self, hub: HubReader) -> None:
        self._hub = hub
        self.id = os.urandom(16).hex()
        self.headers = {"traceparent": f"00-{self.id}-{os.urandom(8).hex()}-01"}

    def record(self) -> Record:
        return self._hub.record(self.id)


@pytest.fixture
def trace(hub: HubReader) -> Trace:
    return Trace(hub)


def recorded_calls(calls: Any) -> list[dict[str, str]]:
    """The SDK's tool calls, as a record has them."""
    return [{"id": call.id, "name": call.function.name, "arguments": call.function.arguments} for call in calls]


def test_a_json_call(running: ProxyThread, trace: Trace) -> None:
    """A plain call through AzureOpenAI: the record holds what the SDK got."""
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
    """A stream through AsyncAzureOpenAI: text, usage and the number of events are those that the SDK saw."""

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
    """OpenAI's client with the base URL …/openai/v1: the deployment is the body's model, and no version is named."""
    with v1_client(running) as client:
        answer = client.chat.completions.create(
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
    """Tool calls, one or two, whole or streamed, are recorded as the SDK puts them together."""
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


class Place(BaseModel):
    """What the model is to fill in."""

    name: str
    height: int


def test_structured_output(running: ProxyThread, trace: Trace) -> None:
    """`chat.completions.parse` gets its object; the record holds its text."""
    with sync_client(running) as client:
        answer = client.chat.completions.parse(
            model=MODEL, messages=user("A place"), response_format=Place, extra_headers=trace.headers
        )
    assert isinstance(answer.choices[0].message.parsed, Place)
    assert Place.model_validate_json(trace.record()["content"]) == answer.choices[0].message.parsed


def test_several_choices_a_refusal_and_reasoning(running: ProxyThread, hub: HubReader) -> None:
    """What is special in an answer has its field: choices, refusal, the tokens spent on reasoning."""
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


def test_many_streams_of_one_client(running: ProxyThread, hub: HubReader) -> None:
    """Twenty streams of one async client at once keep apart, in the SDK and in the records."""
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


def test_a_wrong_key_for_the_proxy(running: ProxyThread) -> None:
    """The proxy's own 401 is the SDK's AuthenticationError, with its code; the right key is in nothing it says."""
    with sync_client(running, "wrong") as client, pytest.raises(openai.AuthenticationError) as refused:
        client.chat.completions.create(model=MODEL, messages=user("Hello"))
    assert (refused.value.code, refused.value.type) == ("invalid_api_key", "authentication_error")
    assert KEY not in str(refused.value)


def test_a_wrong_key_of_the_proxy(azure: str, proxy: Any, trace: Trace) -> None:
    """Upstream's 401 is passed on and recorded: it is the proxy's key that is wrong."""
    with sync_client(proxy(azure, AZURE_OPENAI_KEY="wrong")) as client, pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(model=MODEL, messages=user("Hello"), extra_headers=trace.headers)
    record = trace.record()
    assert (record["status"], record["http_status"], record["error"]["code"]) == ("upstream_error", 401, "401")


def test_what_is_not_there(running: ProxyThread, trace: Trace) -> None:
    """A missing deployment is the SDK's NotFoundError and is recorded by its code; so is a path the proxy lacks."""
    with sync_client(running) as client, pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="missing", messages=user("Hello"), extra_headers=trace.headers)
    assert missing.value.code == "DeploymentNotFound"
    with OpenAI(base_url=running.url, api_key=KEY, max_retries=0) as client, pytest.raises(openai.NotFoundError) as no:
        client.chat.completions.create(model=MODEL, messages=user("Hello"))
    assert no.value.code == "not_found"
    record = trace.record()
    assert (record["http_status"], record["deployment"]) == (404, "missing")
    assert record["error"]["code"] == "DeploymentNotFound"


def test_too_many_calls(running: ProxyThread, trace: Trace) -> None:
    """A 429 is the SDK's RateLimitError with upstream's retry-after, and is recorded."""
    headers = {**trace.headers, "x-simulate": "429; retry-after-ms=1500"}
    with sync_client(running) as client, pytest.raises(openai.RateLimitError) as limited:
        client.chat.completions.create(model=MODEL, messages=user("Hello"), extra_headers=headers)
    assert limited.value.response.headers["retry-after-ms"] == "1500"
    assert limited.value.response.headers["x-trace-id"] == trace.id
    record = trace.record()
    assert (record["status"], record["http_status"], record["error"]["code"]) == ("upstream_error", 429, "429")
    assert record["usage"] is None


def test_a_retry_is_a_call_of_its_own(azure: str, running: ProxyThread, hub: HubReader) -> None:
    """Where the SDK itself tries again after a 429, both tries are recorded, in the caller's one trace."""
    trace = Trace(hub)
    fault = json.dumps({"simulate": "429; retry-after-ms=1", "times": 1}).encode()
    urllib.request.urlopen(urllib.request.Request(f"{azure}/_simulator/faults", fault, method="POST")).close()
    with sync_client(running).with_options(max_retries=1) as client:
        assert client.chat.completions.create(model=MODEL, messages=user("Hello"), extra_headers=trace.headers).choices
    records = sorted(hub.records(trace.id, 2), key=lambda record: record["started_at"])
    assert [record["http_status"] for record in records] == [429, 200]


def test_a_filtered_prompt(running: ProxyThread, trace: Trace) -> None:
    """A prompt that the filter stopped is the SDK's BadRequestError; the record has the verdict."""
    with sync_client(running) as client, pytest.raises(openai.BadRequestError) as filtered:
        client.chat.completions.create(model=MODEL, messages=user("[filter the prompt]"), extra_headers=trace.headers)
    assert filtered.value.code == "content_filter"
    record = trace.record()
    assert (record["http_status"], record["error"]["code"]) == (400, "content_filter")
    assert record["content_filter"]["prompt"]["hate"] == {"filtered": True, "severity": "high"}


def test_an_error_in_mid_stream(running: ProxyThread, trace: Trace) -> None:
    """An error event is the SDK's APIError after the chunks before it; the record has both."""
    received: list[str] = []
    headers = {**trace.headers, "x-simulate": "error-event-after=5"}
    with sync_client(running) as client:
        events = client.chat.completions.create(model=MODEL, messages=user("Hello"), stream=True, extra_headers=headers)
        with pytest.raises(openai.APIError) as failed:
            received.extend(event.choices[0].delta.content or "" for event in events if event.choices)
    record = trace.record()
    assert (record["status"], record["http_status"]) == ("upstream_error", 200)
    assert record["error"]["message"] == failed.value.message
    assert record["content"] == "".join(received) != ""
