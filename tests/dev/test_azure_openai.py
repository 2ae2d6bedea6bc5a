"""The simulator of Azure OpenAI keeps the service's promises to the service's own client."""

import asyncio
import io
import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import openai
import pytest
from openai import AsyncAzureOpenAI, AzureOpenAI, OpenAI

ROOT = Path(__file__).resolve().parents[2]
KEY = "a-key-for-tests"
DONE = "[DONE]"
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
        },
    },
}
PLACE = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "kind": {"enum": ["city", "village"]},
        "height": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "streets": {"type": "array", "items": {"$ref": "#/$defs/street"}},
    },
    "$defs": {"street": {"type": "object", "properties": {"long": {"type": "boolean"}}}},
}


@dataclass(frozen=True)
class Service:
    """A running simulator."""

    process: subprocess.Popen[str]
    url: str

    def azure(self, api_version: str = "2024-10-21", key: str = KEY) -> AzureOpenAI:
        return AzureOpenAI(
            azure_endpoint=self.url, api_key=key, api_version=api_version, max_retries=0, timeout=10
        )

    def v1(self, key: str = KEY) -> OpenAI:
        return OpenAI(base_url=f"{self.url}/openai/v1", api_key=key, max_retries=0, timeout=10)

    def request(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request without the client library; return status, headers in lower case, and body."""
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data, {"api-key": KEY} | (headers or {}), method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        except HTTPError as error:
            with error:
                return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()

    def events(self, body: dict[str, Any], simulate: str = "") -> list[str]:
        """Return the data of each event of a streamed chat."""
        known = {"model": "prod", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
        path = "/openai/v1/chat/completions"
        status, headers, answer = self.request("POST", path, known | body, {"x-simulate": simulate})
        assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        return [event.removeprefix("data: ") for event in answer.decode().split("\n\n")[:-1]]

    def seen(self) -> dict[str, Any]:
        return json.loads(self.request("GET", "/_simulator/requests")[2])


def start(*options: str) -> Service:
    command = [sys.executable, "-m", "dev.azure_openai", "--port", "0", *options]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    hello = json.loads(process.stdout.readline())
    assert hello["base_url"] == f"http://127.0.0.1:{hello['port']}"
    return Service(process, hello["base_url"])


@pytest.fixture(scope="module")
def running() -> Iterator[Service]:
    service = start("--key", KEY, "--token-ms", "0", "--first-token-ms", "0", "--region", "West Europe")
    yield service
    service.process.terminate()
    _, complaints = service.process.communicate(timeout=5)
    assert (service.process.returncode, complaints) == (0, "")


@pytest.fixture
def service(running: Service) -> Service:
    running.request("DELETE", "/_simulator/requests")
    return running


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


def simulate(words: str) -> dict[str, str]:
    return {"x-simulate": words}


# Chat


@pytest.mark.parametrize("surface", ["azure", "v1"])
def test_a_chat_answer_has_the_shape_of_the_service(service: Service, surface: str) -> None:
    """A JSON answer carries text, filter results for prompt and answer, a model name and totals that add up."""
    client = service.azure() if surface == "azure" else service.v1()
    answer = client.chat.completions.create(model="gpt-4o", messages=user("Tell me of traces"))
    [choice] = answer.choices
    assert choice.message.content
    assert (choice.finish_reason, choice.message.refusal) == ("stop", None)
    assert answer.model == "gpt-4o-2024-11-20"
    assert answer.id.startswith("chatcmpl-")
    extra: Any = answer.model_extra
    assert extra["prompt_filter_results"][0]["content_filter_results"]["jailbreak"]["detected"] is False
    assert choice.model_extra is not None
    assert choice.model_extra["content_filter_results"]["hate"] == {"filtered": False, "severity": "safe"}
    usage = answer.usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (4, len(choice.message.content.split()))
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_the_same_prompt_gets_the_same_answer(service: Service) -> None:
    """Text follows from the prompt alone, in JSON and in a stream, on either surface."""
    whole = service.azure().chat.completions.create(model="prod", messages=user("Once more"))
    streamed = service.v1().chat.completions.create(model="other", messages=user("Once more"), stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in streamed if chunk.choices)
    assert text == whole.choices[0].message.content


def test_a_stream_is_told_in_the_order_of_the_service(service: Service) -> None:
    """Filter results of the prompt, a bare role, one token a chunk, the finish reason, [DONE]; no usage unasked."""
    *told, done = service.events({})
    chunks = [json.loads(event) for event in told]
    assert done == DONE
    assert (chunks[0]["choices"], chunks[0]["id"], chunks[0]["model"], chunks[0]["created"]) == (
        [],
        "",
        "",
        0,
    )
    assert chunks[0]["object"] == ""
    assert chunks[0]["prompt_filter_results"][0]["prompt_index"] == 0
    assert chunks[1]["choices"][0]["delta"] == {"content": "", "refusal": None, "role": "assistant"}
    assert chunks[1]["choices"][0]["content_filter_results"] == {}
    for chunk in chunks[2:-1]:
        assert set(chunk["choices"][0]["delta"]) == {"content"}
        assert len(chunk["choices"][0]["delta"]["content"].split()) == 1
        assert chunk["choices"][0]["content_filter_results"]["violence"]["severity"] == "safe"
        assert chunk["obfuscation"]
    assert (chunks[-1]["choices"][0]["delta"], chunks[-1]["choices"][0]["finish_reason"]) == ({}, "stop")
    assert not any("usage" in chunk for chunk in chunks)


def test_usage_ends_a_stream_that_asks_for_it(service: Service) -> None:
    """With include_usage every chunk has usage null, but the last, which has no choices and the totals."""
    *told, done = service.events({"stream_options": {"include_usage": True}})
    chunks = [json.loads(event) for event in told]
    assert done == DONE
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == len(chunks) - 4


def test_obfuscation_can_be_declined(service: Service) -> None:
    """Chunks are not padded when the client asks for no padding."""
    events = service.events({"stream_options": {"include_obfuscation": False}})
    assert not any("obfuscation" in event for event in events)


def test_the_asynchronous_filter_reports_apart_from_the_text(service: Service) -> None:
    """Findings come in chunks of their own, without delta and id, whose offsets cover the text without a gap."""
    chunks = [json.loads(event) for event in service.events({}, "filter=async;tokens=50")[:-1]]
    text = "".join(
        choice["delta"]["content"] for c in chunks for choice in c["choices"] if choice.get("delta")
    )
    findings = [c for c in chunks if c["choices"] and "delta" not in c["choices"][0]]
    assert len(findings) == 3
    assert all(c["id"] == "" and "content_filter_results" in c["choices"][0] for c in findings)
    offsets = [c["choices"][0]["content_filter_offsets"] for c in findings]
    assert [o["start_offset"] for o in offsets] == [0, *[o["end_offset"] for o in offsets[:-1]]]
    assert offsets[-1]["end_offset"] == len(text)
    others = [c["choices"][0] for c in chunks if c["choices"] and "delta" in c["choices"][0]]
    assert not any("content_filter_results" in choice for choice in others)


def test_without_a_filter_nothing_speaks_of_one(service: Service) -> None:
    """With the filter off a stream begins with the role."""
    events = service.events({}, "filter=off")
    assert json.loads(events[0])["choices"][0]["delta"]["role"] == "assistant"
    assert not any("filter" in event for event in events)


def test_several_choices(service: Service) -> None:
    """n choices come side by side in a stream, and say the same as in JSON."""
    client = service.azure()
    whole = client.chat.completions.create(model="prod", messages=user("Three ways"), n=3)
    texts = ["", "", ""]
    order = []
    for chunk in client.chat.completions.create(model="prod", messages=user("Three ways"), n=3, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            order.append(choice.index)
    assert texts == [choice.message.content for choice in whole.choices]
    assert order[:6] == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
def test_an_answer_ends_at_its_limit(service: Service, limit: str) -> None:
    """An answer cut at the limit says so, and counts no more tokens than that."""
    extra: Any = {limit: 3}
    answer = service.azure().chat.completions.create(model="prod", messages=user("At length"), **extra)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3


def test_an_answer_ends_before_a_stop_word(service: Service) -> None:
    """Text stops short of a stop sequence."""
    client = service.azure()
    text = client.chat.completions.create(model="prod", messages=user("Go on")).choices[0].message.content
    assert text
    stop = text.split()[2]
    answer = client.chat.completions.create(model="prod", messages=user("Go on"), stop=[stop])
    assert answer.choices[0].message.content == text.partition(stop)[0]


def test_a_tool_is_called(service: Service) -> None:
    """A request with tools gets a call with arguments that its schema allows, and no content."""
    answer = service.azure().chat.completions.create(model="prod", messages=user("Weather?"), tools=[WEATHER])
    [choice] = answer.choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    assert choice.message.tool_calls is not None
    [call] = choice.message.tool_calls
    assert call.type == "function"
    arguments = json.loads(call.function.arguments)
    assert isinstance(arguments["city"], str)
    assert isinstance(arguments["days"], int)


@pytest.mark.parametrize(("prompt", "calls"), [("Weather?", 1), ("Weather? [parallel]", 2)])
def test_tool_calls_are_streamed_in_pieces(service: Service, prompt: str, calls: int) -> None:
    """The first delta of a call has its id and name, the others pieces of arguments that join to JSON."""
    stream = service.v1().chat.completions.create(
        model="prod", messages=user(prompt), tools=[WEATHER], stream=True
    )
    names: dict[int, str] = {}
    arguments: dict[int, list[str]] = {}
    reasons = []
    for chunk in stream:
        for choice in chunk.choices:
            assert not choice.delta.content
            reasons.append(choice.finish_reason)
            for delta in choice.delta.tool_calls or ():
                assert delta.function is not None
                if delta.id:
                    names[delta.index] = delta.function.name or ""
                arguments.setdefault(delta.index, []).append(delta.function.arguments or "")
    assert names == dict.fromkeys(range(calls), "weather")
    assert all(len(pieces) > 2 and json.loads("".join(pieces)) for pieces in arguments.values())
    assert reasons[-1] == "tool_calls"


def test_a_tool_answer_ends_the_loop(service: Service) -> None:
    """After a tool's answer the model speaks, so that an agent comes to an end."""
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    messages: Any = [
        *user("Weather?"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
    ]
    answer = service.azure().chat.completions.create(model="prod", messages=messages, tools=[WEATHER])
    assert answer.choices[0].message.content


@pytest.mark.parametrize("deployment", ["o4-mini", "gpt-5-nano"])
def test_a_reasoning_model_counts_its_reasoning(service: Service, deployment: str) -> None:
    """Reasoning tokens are reported, and are part of the completion's."""
    answer = service.azure().chat.completions.create(
        model=deployment, messages=user("Count"), reasoning_effort="low"
    )
    usage = answer.usage
    assert usage is not None
    assert usage.completion_tokens_details is not None
    assert usage.completion_tokens_details.reasoning_tokens == 64
    assert usage.completion_tokens > 64


def test_a_long_prompt_is_cached(service: Service) -> None:
    """From 1,024 tokens on a prompt's tokens are reported as cached, in blocks of 128."""
    answer = service.azure().chat.completions.create(model="prod", messages=user("word " * 1200))
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 1152


def test_an_answer_follows_a_json_schema(service: Service) -> None:
    """With a schema the text is JSON that the schema allows."""
    form: Any = {"type": "json_schema", "json_schema": {"name": "place", "schema": PLACE}}
    answer = service.azure().chat.completions.create(
        model="prod", messages=user("Where?"), response_format=form
    )
    place = json.loads(answer.choices[0].message.content or "")
    assert place == {"name": place["name"], "kind": "city", "height": 7, "streets": [{"long": True}]}


def test_a_refusal(service: Service) -> None:
    """A refused prompt gets a refusal instead of content, in JSON and in a stream."""
    client = service.azure()
    message = client.chat.completions.create(model="prod", messages=user("[refuse]")).choices[0].message
    stream = client.chat.completions.create(model="prod", messages=user("[refuse]"), stream=True)
    streamed = "".join(chunk.choices[0].delta.refusal or "" for chunk in stream if chunk.choices)
    assert (message.content, message.refusal) == (None, streamed)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_filtered_answer(service: Service, mode: str) -> None:
    """A filtered answer is a 200 that ends with content_filter; in JSON it has no message."""
    client = service.azure()
    whole = client.chat.completions.with_raw_response.create(
        model="prod", messages=user("[filter the answer]"), extra_headers=simulate(f"filter={mode}")
    )
    choice = json.loads(whole.text)["choices"][0]
    assert (choice["finish_reason"], "message" in choice) == ("content_filter", False)
    assert choice["content_filter_results"]["hate"] == {"filtered": True, "severity": "high"}
    messages = user("[filter the answer]")
    last = json.loads(service.events({"messages": messages}, f"filter={mode}")[-2])["choices"][0]
    assert last["finish_reason"] == "content_filter"
    assert last["content_filter_results"]["hate"]["filtered"] is True


# The other operations


def test_completions(service: Service) -> None:
    """Plain prompts get plain texts, the same in JSON and in a stream, with totals where they are asked for."""
    client = service.azure()
    whole = client.completions.create(model="prod", prompt=["One", "Two"])
    assert [choice.index for choice in whole.choices] == [0, 1]
    stream = client.completions.create(
        model="prod", prompt=["One", "Two"], stream=True, stream_options={"include_usage": True}
    )
    texts, usage = ["", ""], None
    for chunk in stream:
        usage = chunk.usage
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts == [choice.text for choice in whole.choices]
    assert usage == whole.usage


@pytest.mark.parametrize(
    ("model", "dimensions"), [("text-embedding-3-small", 1536), ("text-embedding-3-large", 3072)]
)
def test_embeddings(service: Service, model: str, dimensions: int) -> None:
    """Vectors are the same as numbers and as base64, one for each input, and as long as the model's."""
    client = service.azure()
    inputs = ["to be embedded", "and this"]
    packed = client.embeddings.create(model=model, input=inputs)
    plain = client.embeddings.create(model=model, input=inputs, encoding_format="float")
    assert [len(item.embedding) for item in packed.data] == [dimensions, dimensions]
    for a, b in zip(packed.data, plain.data, strict=True):
        assert a.embedding == pytest.approx(b.embedding, abs=1e-6)
    assert (packed.usage.prompt_tokens, packed.usage.total_tokens) == (5, 5)


def test_embeddings_of_a_chosen_length(service: Service) -> None:
    """`dimensions` sets the length of a vector."""
    answer = service.v1().embeddings.create(model="text-embedding-3-small", input="short", dimensions=64)
    assert len(answer.data[0].embedding) == 64


@pytest.mark.parametrize("surface", ["azure", "v1"])
def test_responses(service: Service, surface: str) -> None:
    """A response has its text, its usage, and the filter's findings."""
    client = service.azure() if surface == "azure" else service.v1()
    response = client.responses.create(model="gpt-4o", input="Tell me of spans")
    assert response.output_text
    assert (response.status, response.object) == ("completed", "response")
    assert response.usage is not None
    assert response.usage.output_tokens == len(response.output_text.split())
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    assert response.model_extra is not None
    assert [found["source_type"] for found in response.model_extra["content_filters"]] == [
        "prompt",
        "completion",
    ]


def test_responses_as_a_stream(service: Service) -> None:
    """Events are named and numbered, deltas join to the text, usage is within the last, and no [DONE] follows."""
    body = {"model": "gpt-4o", "input": "Tell me of spans", "stream": True}
    _, headers, raw = service.request("POST", "/openai/v1/responses", body)
    names = re.findall(r"^event: (.+)$", raw.decode(), re.MULTILINE)
    data = [json.loads(line) for line in re.findall(r"^data: (.+)$", raw.decode(), re.MULTILINE)]
    assert headers["azureai-fe-is-streaming"] == "True"
    assert names == [event["type"] for event in data]
    assert [event["sequence_number"] for event in data] == list(range(len(data)))
    assert names[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    text = "".join(event["delta"] for event in data if event["type"] == "response.output_text.delta")
    assert data[-1]["response"]["output"][0]["content"][0]["text"] == text
    assert data[-1]["response"]["usage"]["output_tokens"] == len(text.split())
    assert data[0]["response"]["usage"] is None
    assert names[-1] == "response.completed"


def test_responses_through_the_client(service: Service) -> None:
    """The client's own account of a stream agrees with the deltas: reasoning summary, refusal or calls."""
    client = service.v1()
    with client.responses.stream(
        model="o3", input="Why?", reasoning={"summary": "auto", "effort": "low"}
    ) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert "response.reasoning_summary_text.delta" in kinds
    assert final.usage is not None
    assert final.usage.output_tokens_details.reasoning_tokens == 64
    assert [item.type for item in final.output] == ["reasoning", "message"]
    with client.responses.stream(model="prod", input="[refuse]") as stream:
        assert "response.refusal.delta" in [event.type for event in stream]


@pytest.mark.parametrize(("prompt", "calls"), [("Weather?", 1), ("Weather? [parallel]", 2)])
def test_responses_call_functions(service: Service, prompt: str, calls: int) -> None:
    """Function calls are items of their own, whose argument deltas join to the arguments."""
    tool: Any = {"type": "function", **WEATHER["function"], "strict": False}
    deltas, final = "", None
    for event in service.azure("2025-03-01-preview").responses.create(
        model="prod", input=prompt, tools=[tool], stream=True
    ):
        if event.type == "response.function_call_arguments.delta":
            deltas += event.delta
        if event.type == "response.completed":
            final = event.response
    assert final is not None
    items = [item for item in final.output if item.type == "function_call"]
    assert len(items) == calls
    assert "".join(item.arguments for item in items) == deltas


def test_a_response_cut_at_its_limit(service: Service) -> None:
    """max_output_tokens ends a response as incomplete, with the reason, in JSON and in the last event."""
    client = service.v1()
    whole = client.responses.create(model="prod", input="At length", max_output_tokens=2)
    assert whole.incomplete_details is not None
    assert (whole.status, whole.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    stream = client.responses.create(model="prod", input="At length", max_output_tokens=2, stream=True)
    assert [event.type for event in stream][-1] == "response.incomplete"


def test_images(service: Service) -> None:
    """Pictures are PNG files in base64, with usage in tokens."""
    import base64

    answer = service.azure().images.generate(model="gpt-image-1", prompt="A grey cat", n=2)
    assert answer.data is not None
    pictures = [base64.b64decode(image.b64_json or "") for image in answer.data]
    assert [picture[:8] for picture in pictures] == [b"\x89PNG\r\n\x1a\n"] * 2
    assert answer.usage is not None
    assert answer.usage.input_tokens == 3


@pytest.mark.parametrize("surface", ["azure", "v1"])
def test_transcriptions(service: Service, surface: str) -> None:
    """An upload is answered with text, whichever surface it came by."""
    client = service.azure() if surface == "azure" else service.v1()
    sound = ("speech.mp3", io.BytesIO(bytes(range(256)) * 40))
    answer = client.audio.transcriptions.create(model="whisper", file=sound)
    assert answer.text
    text = client.audio.transcriptions.create(
        model="whisper", file=("speech.mp3", io.BytesIO(bytes(range(256)) * 40)), response_format="text"
    )
    assert text.strip() == answer.text


def test_speech(service: Service) -> None:
    """Speech comes as MP3 frames in chunks, more for a longer text."""
    answer = service.azure().audio.speech.create(model="tts", voice="alloy", input="Two words")
    assert answer.response.headers["content-type"] == "audio/mpeg"
    assert answer.response.headers["transfer-encoding"] == "chunked"
    assert answer.content[:2] == b"\xff\xfb"
    assert len(answer.content) == 2 * 12 * 417


@pytest.mark.parametrize("surface", ["azure", "v1"])
def test_models(service: Service, surface: str) -> None:
    """The list of models names those that answer."""
    client = service.azure() if surface == "azure" else service.v1()
    assert "gpt-4o-2024-11-20" in [model.id for model in client.models.list()]


# Headers and errors


def test_headers_of_an_answer(service: Service) -> None:
    """An answer names region, deployment, limits and its own id, and echoes the client's request id."""
    answer = service.azure().chat.completions.with_raw_response.create(
        model="prod", messages=user("Hi"), extra_headers={"x-ms-client-request-id": "mine"}
    )
    headers = answer.headers
    assert headers["x-ms-region"] == "West Europe"
    assert headers["x-ms-deployment-name"] == "prod"
    assert headers["x-ms-client-request-id"] == "mine"
    assert headers["x-ms-is-spilled-over"] == "false"
    assert headers["x-accel-buffering"] == "no"
    assert int(headers["x-ratelimit-remaining-tokens"]) < int(headers["x-ratelimit-limit-tokens"])
    assert int(headers["x-ratelimit-remaining-requests"]) < int(headers["x-ratelimit-limit-requests"])
    assert headers["apim-request-id"] != headers["x-request-id"]
    assert "server" not in headers


@pytest.mark.parametrize("surface", ["azure", "v1"])
def test_a_wrong_key_is_denied(service: Service, surface: str) -> None:
    """Without the right key, as api-key or bearer, there is a 401 in the gateway's words."""
    client = service.azure(key="wrong") if surface == "azure" else service.v1(key="wrong")
    with pytest.raises(openai.AuthenticationError) as denied:
        client.chat.completions.create(model="prod", messages=user("Hi"))
    assert denied.value.code == "401"


def test_no_key_is_denied(service: Service) -> None:
    """A request that shows nothing is told of its subscription key."""
    status, _, body = service.request("POST", "/openai/v1/chat/completions", {}, {"api-key": ""})
    error = json.loads(body)["error"]
    assert (status, error["code"]) == (401, "401")
    assert error["message"].startswith("Access denied due to invalid subscription key")


@pytest.mark.parametrize("surface", ["azure", "v1"])
def test_a_missing_deployment(service: Service, surface: str) -> None:
    """A deployment that is not there is a 404 whose headers name the region, and no request id of a model."""
    client = service.azure() if surface == "azure" else service.v1()
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="missing", messages=user("Hi"))
    assert missing.value.code == "DeploymentNotFound"
    headers = missing.value.response.headers
    assert headers["x-ms-region"] == "West Europe"
    assert {name for name in headers if name.startswith(("x-ms", "x-r", "apim"))} == {
        "x-ms-region",
        "apim-request-id",
    }
    assert "content-type" not in headers


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/openai/deployments/prod/chat/completions"),
        ("POST", "/openai/deployments/prod/chat/completions?api-version=soon"),
        ("GET", "/openai/deployments/prod/chat/completions?api-version=2024-10-21"),
        ("POST", "/openai/chat/completions?api-version=2024-10-21"),
        ("POST", "/openai/deployments/prod/responses?api-version=2024-10-21"),
        ("GET", "/openai/models"),
        ("GET", "/openai/v1/assistants"),
        ("GET", "/"),
    ],
)
def test_anything_else_is_not_found(service: Service, method: str, path: str) -> None:
    """A path that leads nowhere, or lacks its api-version, is a 404 in the gateway's words."""
    status, headers, body = service.request(method, path, {} if method == "POST" else None)
    assert (status, json.loads(body)) == (404, {"error": {"code": "404", "message": "Resource not found"}})
    assert "x-request-id" not in headers


@pytest.mark.parametrize("operation", ["chat", "responses", "completions"])
def test_a_filtered_prompt(service: Service, operation: str) -> None:
    """A prompt that the filter stops is a 400 that says what was found."""
    prompt, client = "[filter the prompt]", service.azure()
    calls: dict[str, Callable[[], object]] = {
        "chat": lambda: client.chat.completions.create(model="prod", messages=user(prompt), stream=True),
        "responses": lambda: client.responses.create(model="prod", input=prompt),
        "completions": lambda: client.completions.create(model="prod", prompt=prompt),
    }
    with pytest.raises(openai.BadRequestError) as filtered:
        calls[operation]()
    body: Any = filtered.value.body
    assert (body["code"], body["status"]) == ("content_filter", 400)
    assert body["innererror"]["content_filter_result"]["hate"] == {"filtered": True, "severity": "high"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{not json", None),
        (b"[]", None),
        (b"{}", "messages"),
        (b'{"messages": []}', None),
        (b'{"messages": 1}', None),
    ],
)
def test_a_body_that_cannot_be_read(service: Service, body: bytes, param: str | None) -> None:
    """What is no JSON object, or has no messages, is a 400 of type invalid_request_error."""
    path = "/openai/deployments/prod/chat/completions?api-version=2024-10-21"
    status, _, answer = service.request("POST", path, body)
    error = json.loads(answer)["error"]
    assert (status, error["type"], error["param"]) == (400, "invalid_request_error", param)


@pytest.mark.parametrize(
    ("api_version", "more", "words"),
    [
        ("2024-10-21", {}, "only allowed when 'stream' is enabled"),
        ("2024-06-01", {"stream": True}, "Unrecognized request argument supplied: stream_options"),
        ("2024-08-01-preview", {"stream": True}, "Unrecognized request argument supplied: stream_options"),
        ("2024-10-21", {"stream": True, "data_sources": [{}]}, "Extra inputs are not permitted"),
    ],
)
def test_stream_options_where_they_are_not_taken(
    service: Service, api_version: str, more: dict[str, Any], words: str
) -> None:
    """stream_options are a 400 without a stream, before their api-version, and with data_sources."""
    body = {"messages": user("Hi"), "stream_options": {"include_usage": True}} | more
    path = f"/openai/deployments/prod/chat/completions?api-version={api_version}"
    status, _, answer = service.request("POST", path, body)
    assert status == 400
    assert words in json.loads(answer)["error"]["message"]


def test_stream_options_are_taken_from_their_first_version_on(service: Service) -> None:
    """2024-09-01-preview is the first api-version that takes stream_options."""
    stream = service.azure("2024-09-01-preview").chat.completions.create(
        model="prod", messages=user("Hi"), stream=True, stream_options={"include_usage": True}
    )
    assert [chunk.usage for chunk in stream][-1] is not None


def test_too_many_requests(service: Service) -> None:
    """A 429 says when to come back, in whole seconds and in milliseconds, and that nothing remains."""
    with pytest.raises(openai.RateLimitError) as limited:
        service.azure().chat.completions.create(
            model="prod", messages=user("Hi"), extra_headers=simulate("429;retry-after-ms=1500")
        )
    headers = limited.value.response.headers
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("2", "1500")
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert limited.value.code == "429"
    assert "Please retry after 2 seconds" in limited.value.message


@pytest.mark.parametrize("status", [408, 422, 500, 503])
def test_other_errors(service: Service, status: int) -> None:
    """Any status from 400 on can be had, with an error in JSON and no retry-after unless given."""
    with pytest.raises(openai.APIStatusError) as failed:
        service.v1().responses.create(model="prod", input="Hi", extra_headers=simulate(f"status={status}"))
    assert failed.value.status_code == status
    assert isinstance(failed.value.body, dict)
    assert failed.value.body["message"]
    assert "retry-after" not in failed.value.response.headers


# Simulations


@pytest.mark.parametrize("word", ["cut-after", "close-after"])
def test_a_stream_breaks_off(service: Service, word: str) -> None:
    """After so many events the connection is gone: all of them arrive, then the client sees an error."""
    received = []
    with pytest.raises(openai.APIConnectionError):
        for chunk in service.azure().chat.completions.create(
            model="prod", messages=user("Hi"), stream=True, extra_headers=simulate(f"{word}=5")
        ):
            received.append(chunk)
    assert len(received) == 5
    assert service.seen()["requests"][-1]["outcome"] == "broken_off"


def test_a_cut_is_a_reset(service: Service) -> None:
    """cut-after sends RST, which close-after does not."""
    body = json.dumps({"model": "prod", "messages": user("Hi"), "stream": True}).encode()
    host, port = service.url.removeprefix("http://").split(":")
    for word, raises in (("cut-after", True), ("close-after", False)):
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(
                f"POST /openai/v1/chat/completions HTTP/1.1\r\nHost: {host}\r\napi-key: {KEY}\r\n"
                f"x-simulate: {word}=2\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            received, reset = b"", False
            try:
                while data := connection.recv(65536):
                    received += data
            except ConnectionResetError:
                reset = True
        assert (received.count(b"data: "), reset) == (2, raises)


def test_a_json_answer_breaks_off(service: Service) -> None:
    """A JSON answer is cut in its middle."""
    with pytest.raises(openai.APIConnectionError):
        service.azure().chat.completions.create(
            model="prod", messages=user("Hi"), extra_headers=simulate("cut-after=0")
        )


@pytest.mark.parametrize("words", ["silent", "stall-after=3"])
def test_a_stalled_answer_keeps_the_connection(service: Service, words: str) -> None:
    """Silence lasts until the client gives up, and the journal tells that it was the client."""
    received = []
    with pytest.raises(openai.APITimeoutError):
        for chunk in (
            service.azure()
            .with_options(timeout=0.4)
            .chat.completions.create(
                model="prod", messages=user("Hi"), stream=True, extra_headers=simulate(words)
            )
        ):
            received.append(chunk)
    assert len(received) == (0 if words == "silent" else 3)
    assert wait_for(lambda: service.seen()["requests"][-1]["outcome"] == "aborted")


def test_an_error_within_a_stream(service: Service) -> None:
    """error-event-after ends a stream of chat with an error event, and no [DONE]."""
    events = service.events({}, "error-event-after=3")
    assert len(events) == 4
    assert json.loads(events[-1])["error"]["type"] == "server_error"
    with pytest.raises(openai.APIError, match="had an error"):
        list(
            service.azure().chat.completions.create(
                model="prod", messages=user("Hi"), stream=True, extra_headers=simulate("error-event-after=3")
            )
        )


def test_an_error_within_a_response(service: Service) -> None:
    """In the Responses operation the error is an event of its own, with the next number."""
    stream = service.v1().responses.create(
        model="prod", input="Hi", stream=True, extra_headers=simulate("error-event-after=4")
    )
    *_, last = stream
    assert last.type == "error"
    assert last.sequence_number == 4


def test_a_stream_without_its_end(service: Service) -> None:
    """no-done leaves out [DONE], and in the Responses operation response.completed."""
    assert json.loads(service.events({}, "no-done")[-1])["choices"][0]["finish_reason"] == "stop"
    stream = service.v1().responses.create(
        model="prod", input="Hi", stream=True, extra_headers=simulate("no-done")
    )
    assert [event.type for event in stream][-1] == "response.output_item.done"


def test_usage_can_be_withheld(service: Service) -> None:
    """no-usage reports none, even to a stream that asks."""
    events = service.events({"stream_options": {"include_usage": True}}, "no-usage")
    assert json.loads(events[-2])["choices"]
    answer = service.azure().chat.completions.create(
        model="prod", messages=user("Hi"), extra_headers=simulate("no-usage")
    )
    assert answer.usage is None


def test_an_answer_of_a_given_length(service: Service) -> None:
    """tokens=N makes N chunks of text, each of one token, and counts them."""
    events = service.events({"stream_options": {"include_usage": True}}, "tokens=20000")
    assert json.loads(events[-2])["usage"]["completion_tokens"] == 20000
    assert len(events) == 20000 + 5


def test_events_in_pieces_are_the_same_events(service: Service) -> None:
    """pieces=N changes the writes, not the bytes."""
    known = re.compile(r'"(id|created)":("[^"]*"|\d+)')
    whole, pieces = (
        [known.sub("", event) for event in service.events({}, words)] for words in ("", "pieces=7")
    )
    assert whole == pieces


def test_headers_can_be_simulated(service: Service) -> None:
    """Region and spill-over are as told; an empty region leaves its header out."""
    path, body = "/openai/v1/chat/completions", {"model": "prod", "messages": user("Hi")}
    _, headers, _ = service.request("POST", path, body, simulate("region=Mars;spilled-over"))
    assert (headers["x-ms-region"], headers["x-ms-is-spilled-over"]) == ("Mars", "true")
    _, headers, _ = service.request("POST", path, body, simulate("region="))
    assert "x-ms-region" not in headers


@pytest.mark.parametrize(
    "words", ["nonsense", "cut-after", "tokens=many", "status=200", "pieces=0", "filter=maybe"]
)
def test_an_unknown_word_is_an_error(service: Service, words: str) -> None:
    """A simulation that cannot be read is never passed over."""
    status, _, body = service.request("POST", "/openai/v1/chat/completions", {}, simulate(words))
    assert (status, body.decode().endswith(words)) == (400, True)


def test_faults_apply_to_the_next_calls(service: Service) -> None:
    """A fault set aside strikes as often as told, whatever the headers say, and then no more."""
    service.request("POST", "/_simulator/faults", {"simulate": "503", "times": 2})
    body = {"model": "prod", "messages": user("Hi")}
    path = "/openai/v1/chat/completions"
    statuses = [service.request("POST", path, body, simulate("429"))[0] for _ in range(3)]
    assert statuses == [503, 503, 429]
    service.request("POST", "/_simulator/faults", {"simulate": "503"})
    service.request("DELETE", "/_simulator/faults")
    assert service.request("POST", path, body)[0] == 200


def test_the_journal_shows_requests_as_they_came(service: Service) -> None:
    """Method, path with query, headers and body are kept as sent, the last 1,000, and all are counted."""
    path = "/openai/deployments/a%20b/chat/completions?api-version=2024-10-21&x=%2F"
    body = b'{ "messages":[{"role":"user","content":"Gr\xc3\xbc\xc3\x9fe"}] }'
    service.request("POST", path, body, {"x-mine": "yes"})
    seen = service.seen()
    [request] = seen["requests"]
    assert (seen["total"], request["method"], request["path"]) == (1, "POST", path)
    assert request["body"].encode() == body
    assert request["headers"]["x-mine"] == "yes"
    assert (request["status"], request["outcome"]) == (200, "completed")
    service.request("DELETE", "/_simulator/requests")
    assert service.seen() == {"total": 0, "requests": []}


# The process


def test_many_streams_at_once(service: Service) -> None:
    """Streams run side by side, each whole."""

    async def read(client: AsyncAzureOpenAI, number: int) -> int:
        stream = await client.chat.completions.create(
            model="prod", messages=user(f"Stream {number}"), stream=True, extra_headers=simulate("tokens=100")
        )
        return len([chunk async for chunk in stream if chunk.choices and chunk.choices[0].delta.content])

    async def read_all() -> list[int]:
        async with AsyncAzureOpenAI(
            azure_endpoint=service.url, api_key=KEY, api_version="2024-10-21", max_retries=0
        ) as client:
            return await asyncio.gather(*(read(client, number) for number in range(20)))

    assert asyncio.run(read_all()) == [100] * 20


def test_defaults_come_from_the_command_line() -> None:
    """Pace, filter, region and any word can be set for all calls; without a key any caller is let in."""
    service = start(
        "--first-token-ms=0", "--token-ms=0", "--filter=off", "--region=Here", "--simulate", "tokens=3"
    )
    try:
        path, body = "/openai/v1/chat/completions", {"model": "prod", "messages": user("Hi"), "stream": True}
        _, headers, answer = service.request("POST", path, body)
        assert headers["x-ms-region"] == "Here"
        assert answer.count(b"data: ") == 3 + 3
        assert b"filter" not in answer
    finally:
        service.process.terminate()
        service.process.communicate(timeout=5)
    assert service.process.returncode == 0


def test_it_ends_with_its_parent() -> None:
    """With --parent-pid it ends when that process is gone."""
    parent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    service = start("--parent-pid", str(parent.pid))
    assert service.process.poll() is None
    parent.communicate()
    assert service.process.communicate(timeout=10)[1] == ""
    assert service.process.returncode == 0


def wait_for(condition: Callable[[], bool]) -> bool:
    """Return whether the condition came true before long."""
    return any(condition() or time.sleep(0.02) for _ in range(250))
