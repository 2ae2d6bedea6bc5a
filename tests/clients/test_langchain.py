"""langchain-openai's AzureChatOpenAI, unmodified, through the proxy: the record matches what it received.

A fixture imports it: that takes seconds, which only the tests that run should cost.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest
from pydantic import BaseModel, SecretStr

from tests.kit.azure import DATED, MODEL, Trace
from tests.kit.hub import Record
from tests.kit.proxy import KEY, ProxyProcess

pytestmark = pytest.mark.heavy

type Model = Callable[..., Any]


@pytest.fixture
def model(running: ProxyProcess, trace: Trace, monkeypatch: pytest.MonkeyPatch) -> Model:
    """Create an AzureChatOpenAI whose calls go through the proxy, in the test's trace."""
    from langchain_openai import AzureChatOpenAI

    monkeypatch.setenv("LANGSMITH_TRACING", "false")

    def make(headers: dict[str, str] | None = None, **more: Any) -> Any:
        return AzureChatOpenAI(
            azure_endpoint=running.url,
            azure_deployment=MODEL,
            api_version="2024-10-21",
            api_key=SecretStr(KEY),
            max_retries=0,
            default_headers={"traceparent": trace.parent, **(headers or {})},
            **more,
        )

    return make


class Place(BaseModel):
    """A structured output."""

    name: str
    height: int


def weather(city: str) -> str:
    """Tells the weather."""
    return f"sunny in {city}"


def usage(message: Any) -> tuple[int, int, int]:
    counts = message.usage_metadata
    return counts["input_tokens"], counts["output_tokens"], counts["total_tokens"]


def recorded_usage(record: Record) -> tuple[int, int, int]:
    counts = record["usage"]
    return counts["prompt_tokens"], counts["completion_tokens"], counts["total_tokens"]


def recorded_calls(message: Any) -> list[tuple[str, str, dict[str, Any]]]:
    return [(call["id"], call["name"], call["args"]) for call in message.tool_calls]


def calls_of(record: Record) -> list[tuple[str, str, dict[str, Any]]]:
    return [(call["id"], call["name"], json.loads(call["arguments"])) for call in record["tool_calls"]]


def test_invoke(model: Model, trace: Trace) -> None:
    """The record has LangChain's message: text, usage, model, id and finish reason."""
    message = model(temperature=0.5).invoke([("system", "Be brief."), ("human", "What is a trace? ✨")])
    record = trace.record()
    assert message.content
    assert record["content"] == message.content
    assert recorded_usage(record) == usage(message)
    assert (record["type"], record["status"], record["deployment"]) == ("completion", "completed", MODEL)
    told = message.response_metadata
    assert (record["model"], record["finish_reasons"]) == (told["model_name"], [told["finish_reason"]])
    assert record["model"] == DATED
    assert record["response_id"] == told["id"]
    assert record["prompt"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is a trace? ✨"},
    ]


@pytest.mark.parametrize("stream_usage", [True, False])
def test_stream(model: Model, trace: Trace, stream_usage: bool) -> None:
    """Chunks join to the recorded text. The record has the usage; LangChain has it only if it asked."""
    chunks = list(model(stream_usage=stream_usage).stream("What is latency?"))
    whole = sum(chunks[1:], chunks[0])
    record = trace.record()
    assert len(chunks) > 5
    assert record["content"] == whole.content != ""
    assert (record["type"], record["status"], record["usage_source"]) == ("stream_completion", "completed", "reported")
    if stream_usage:
        assert recorded_usage(record) == usage(whole)
    else:
        assert whole.usage_metadata is None


def test_astream(model: Model, trace: Trace) -> None:
    """The async client's chunks join to the recorded text."""

    async def stream() -> list[str]:
        async with httpx.AsyncClient() as client:
            asked = model(http_async_client=client)
            return [chunk.content async for chunk in asked.astream("What is latency?")]

    pieces = asyncio.run(stream())
    assert trace.record()["content"] == "".join(pieces) != ""


@pytest.mark.parametrize("streamed", [False, True])
def test_tools(model: Model, trace: Trace, streamed: bool) -> None:
    """Two parallel tool calls, streamed or not, are recorded as LangChain assembles them."""
    bound = model().bind_tools([weather])
    if streamed:
        chunks = list(bound.stream("Weather in two places? [parallel]"))
        message = sum(chunks[1:], chunks[0])
    else:
        message = bound.invoke("Weather in two places? [parallel]")
    record = trace.record()
    assert len(message.tool_calls) == 2
    assert calls_of(record) == recorded_calls(message)
    assert (record["content"], record["finish_reasons"]) == ("", ["tool_calls"])


def test_an_agent_loop(model: Model, trace: Trace) -> None:
    """Model, tool, model: two records in one trace, the second with the tool's result in its prompt."""
    from langchain_core.messages import HumanMessage, ToolMessage

    bound, asked = model().bind_tools([weather]), HumanMessage("Weather?")
    wanted = bound.invoke([asked])
    (call,) = wanted.tool_calls
    answer = bound.invoke([asked, wanted, ToolMessage(weather(**call["args"]), tool_call_id=call["id"])])
    first, second = trace.records(2)
    assert calls_of(first) == recorded_calls(wanted)
    assert [message["role"] for message in second["prompt"]] == ["user", "assistant", "tool"]
    assert second["prompt"][-1]["content"] == "sunny in Sweden Central"
    assert second["content"] == answer.content != ""


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(model: Model, trace: Trace, method: str) -> None:
    """`with_structured_output` gets its object; the record has the text it was parsed from."""
    place = model().with_structured_output(Place, method=method).invoke("A place")
    record = trace.record()
    assert isinstance(place, Place)
    said = record["content"] if method == "json_schema" else record["tool_calls"][0]["arguments"]
    assert Place.model_validate_json(said) == place


def test_batch(model: Model, trace: Trace) -> None:
    """Each call of a batch has its record."""
    prompts = [f"Number {number}" for number in range(5)]
    messages = model().batch(prompts)
    records = trace.records(5)
    assert {record["prompt"][0]["content"]: record["content"] for record in records} == {
        prompt: message.content for prompt, message in zip(prompts, messages, strict=True)
    }


@pytest.mark.parametrize("streamed", [False, True])
def test_responses(model: Model, trace: Trace, streamed: bool) -> None:
    """With `use_responses_api` calls go to the Responses API, and are recorded the same way."""
    asked = model(use_responses_api=True)
    if streamed:
        chunks = list(asked.stream("What is latency?"))
        message = sum(chunks[1:], chunks[0])
    else:
        message = asked.invoke("What is latency?")
    record = trace.record()
    assert record["content"] == message.text != ""
    assert recorded_usage(record) == usage(message)
    assert record["type"] == ("stream_completion" if streamed else "completion")
    assert (record["status"], record["model"], record["deployment"]) == ("completed", DATED, MODEL)


def test_embeddings(running: ProxyProcess, trace: Trace) -> None:
    """AzureOpenAIEmbeddings gets its vectors; the record has texts and usage, and no vectors."""
    from langchain_openai import AzureOpenAIEmbeddings

    embeddings: Any = AzureOpenAIEmbeddings(
        azure_endpoint=running.url,
        azure_deployment="text-embedding-3-small",
        api_version="2024-10-21",
        api_key=SecretStr(KEY),
        max_retries=0,
        check_embedding_ctx_length=False,
        default_headers={"traceparent": trace.parent},
    )
    vectors = embeddings.embed_documents(["one", "two 2"])
    record = trace.record()
    assert [len(vector) for vector in vectors] == [1536, 1536]
    assert (record["operation"], record["prompt"], record["content"]) == ("embeddings", ["one", "two 2"], "")
    assert record["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    assert record["deployment"] == "text-embedding-3-small"


def test_breaking_off_a_stream(model: Model, trace: Trace) -> None:
    """`break` in the loop over the chunks ends the call: the record is client_aborted and has what arrived."""
    chunks = model({"x-simulate": "stall-after=6"}).stream("What is latency?")
    said = ""
    for chunk in chunks:
        said += chunk.content
        if said:
            break
    chunks.close()
    record = trace.record()
    assert record["status"] == "client_aborted"
    assert record["content"].startswith(said)


def test_errors(model: Model, trace: Trace) -> None:
    """An upstream error is the SDK's exception, with its trace, and is recorded."""
    with pytest.raises(openai.RateLimitError) as limited:
        model({"x-simulate": "429; retry-after-ms=1500"}).invoke("Hello")
    assert limited.value.response.headers["x-trace-id"] == trace.id
    assert limited.value.response.headers["retry-after-ms"] == "1500"
    assert trace.record()["http_status"] == 429
