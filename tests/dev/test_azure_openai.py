"""The simulator of Azure OpenAI keeps the service's promises to the service's own client."""

import asyncio
import base64
import functools
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


@functools.cache
def azure(url: str, api_version: str = "2024-10-21", key: str = KEY) -> AzureOpenAI:
    return AzureOpenAI(azure_endpoint=url, api_key=key, api_version=api_version, max_retries=0, timeout=10)


@functools.cache
def v1(url: str, key: str = KEY) -> OpenAI:
    return OpenAI(base_url=f"{url}/openai/v1", api_key=key, max_retries=0, timeout=10)


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
        """Ask for a chat completion through the client library."""
        options = {"model": "prod", "messages": user(text), "extra_headers": {"x-simulate": simulate}} | more
        return self.client(surface).chat.completions.create(**options)

    def respond(self, text: str, simulate: str = "", surface: str = "v1", **more: Any) -> Any:
        """Ask for a response through the client library."""
        options = {"model": "prod", "input": text, "extra_headers": {"x-simulate": simulate}} | more
        return self.client(surface).responses.create(**options)

    def request(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Send one request without the client library; return status, headers in lower case, and body."""
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        sent = {"api-key": KEY} | {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, data, sent, method=method)
        try:
            answer = urllib.request.urlopen(request, timeout=10)
        except HTTPError as error:
            answer = error
        with answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()

    def events(self, simulate: str = "", **body: Any) -> list[Any]:
        """Return the data of each event of a streamed chat, decoded but for [DONE]."""
        body = {"model": "prod", "messages": user("Hello"), "stream": True} | body
        status, headers, answer = self.request("POST", CHAT, body, x_simulate=simulate)
        assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        data = [event.removeprefix("data: ") for event in answer.decode().split("\n\n")[:-1]]
        return [event if event == "[DONE]" else json.loads(event) for event in data]

    def seen(self) -> Any:
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


def wait_for(condition: Callable[[], bool]) -> bool:
    """Return whether the condition came true before long."""
    for _ in range(250):
        if condition():
            return True
        time.sleep(0.02)
    return False


# Chat


@pytest.mark.parametrize("surface", SURFACES)
def test_a_chat_answer_has_the_shape_of_the_service(service: Service, surface: str) -> None:
    """A JSON answer carries text, filter results for prompt and answer, a model and totals that add up."""
    answer = service.chat("Tell me of traces", surface=surface, model="gpt-4o")
    [choice] = answer.choices
    assert (choice.finish_reason, choice.message.refusal) == ("stop", None)
    assert answer.model == "gpt-4o-2024-11-20"
    assert answer.id.startswith("chatcmpl-")
    found = answer.prompt_filter_results[0]["content_filter_results"]
    assert found["jailbreak"] == {"detected": False, "filtered": False}
    assert choice.content_filter_results["hate"] == {"filtered": False, "severity": "safe"}
    assert answer.usage.prompt_tokens == 4
    assert answer.usage.completion_tokens == len(choice.message.content.split()) > 0
    assert answer.usage.total_tokens == 4 + answer.usage.completion_tokens


def test_the_same_prompt_gets_the_same_answer(service: Service) -> None:
    """Text follows from the prompt alone, in JSON and in a stream, on either surface."""
    whole = service.chat("Once more")
    streamed = service.chat("Once more", surface="v1", model="other", stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in streamed if chunk.choices)
    assert text == whole.choices[0].message.content


def test_a_stream_is_told_in_the_order_of_the_service(service: Service) -> None:
    """The prompt's filter results, a bare role, one token a chunk, the finish reason, [DONE]; no usage."""
    filtered, role, *tokens, last, done = service.events()
    assert {name: filtered[name] for name in ("choices", "created", "id", "model", "object")} == {
        "choices": [],
        "created": 0,
        "id": "",
        "model": "",
        "object": "",
    }
    assert filtered["prompt_filter_results"][0]["prompt_index"] == 0
    assert role["choices"][0]["delta"] == {"content": "", "refusal": None, "role": "assistant"}
    assert role["choices"][0]["content_filter_results"] == {}
    for chunk in tokens:
        [choice] = chunk["choices"]
        assert list(choice["delta"]) == ["content"]
        assert len(choice["delta"]["content"].split()) == 1
        assert choice["content_filter_results"]["violence"] == {"filtered": False, "severity": "safe"}
        assert chunk["obfuscation"]
    assert (last["choices"][0]["delta"], last["choices"][0]["finish_reason"]) == ({}, "stop")
    assert not any("usage" in chunk for chunk in (filtered, role, *tokens, last))
    assert done == "[DONE]"


def test_usage_ends_a_stream_that_asks_for_it(service: Service) -> None:
    """With include_usage every chunk has usage null, but the last, which has no choices and the totals."""
    *chunks, last, done = service.events(stream_options={"include_usage": True})
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == len(chunks) - 3
    assert done == "[DONE]"


def test_obfuscation_can_be_declined(service: Service) -> None:
    """Chunks are not padded when the client asks for no padding."""
    assert "obfuscation" not in str(service.events(stream_options={"include_obfuscation": False}))


def test_the_asynchronous_filter_reports_apart_from_the_text(service: Service) -> None:
    """Findings come in chunks of their own, without delta and id; their offsets cover the text."""
    chunks = [chunk for chunk in service.events("filter=async;tokens=50")[1:-1] if chunk["choices"]]
    spoken = [chunk["choices"][0] for chunk in chunks if "delta" in chunk["choices"][0]]
    findings = [chunk for chunk in chunks if "delta" not in chunk["choices"][0]]
    text = "".join(choice["delta"].get("content", "") for choice in spoken)
    offsets = [chunk["choices"][0]["content_filter_offsets"] for chunk in findings]
    starts, ends = ([found[f"{edge}_offset"] for found in offsets] for edge in ("start", "end"))
    assert starts == [0, *ends[:-1]]
    assert (len(ends), ends[-1]) == (3, len(text))
    assert all(chunk["id"] == "" and chunk["choices"][0]["content_filter_results"] for chunk in findings)
    assert not any("content_filter_results" in choice for choice in spoken)


def test_without_a_filter_nothing_speaks_of_one(service: Service) -> None:
    """With the filter off a stream begins with the role."""
    events = service.events("filter=off")
    assert events[0]["choices"][0]["delta"]["role"] == "assistant"
    assert "filter" not in str(events)


def test_several_choices(service: Service) -> None:
    """n choices come side by side in a stream, and say the same as in JSON."""
    texts, order = ["", "", ""], []
    for chunk in service.chat("Three ways", n=3, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            order.append(choice.index)
    assert texts == [choice.message.content for choice in service.chat("Three ways", n=3).choices]
    assert order[:6] == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
def test_an_answer_ends_at_its_limit(service: Service, limit: str) -> None:
    """An answer cut at the limit says so, and counts no more tokens than that."""
    options: dict[str, Any] = {limit: 3}
    answer = service.chat("At length", **options)
    assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("length", 3)


def test_an_answer_ends_before_a_stop_word(service: Service) -> None:
    """Text stops short of a stop sequence."""
    text = service.chat("Go on").choices[0].message.content
    stop = text.split()[2]
    assert service.chat("Go on", stop=[stop]).choices[0].message.content == text.partition(stop)[0]


def test_a_tool_is_called(service: Service) -> None:
    """A request with tools gets a call with arguments that its schema allows, and no content."""
    [choice] = service.chat("Weather?", tools=[WEATHER]).choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    [call] = choice.message.tool_calls
    arguments = json.loads(call.function.arguments)
    assert {name: type(value) for name, value in arguments.items()} == {"city": str, "days": int}


@pytest.mark.parametrize(("prompt", "calls"), [("Weather?", 1), ("Weather? [parallel]", 2)])
def test_tool_calls_are_streamed_in_pieces(service: Service, prompt: str, calls: int) -> None:
    """The first delta of a call has its id and name, the others pieces of arguments that join to JSON."""
    names: dict[int, str] = {}
    arguments: dict[int, list[str]] = {}
    for chunk in service.chat(prompt, surface="v1", tools=[WEATHER], stream=True):
        for choice in chunk.choices:
            reason = choice.finish_reason
            assert not choice.delta.content
            for delta in choice.delta.tool_calls or ():
                if delta.id:
                    names[delta.index] = delta.function.name
                arguments.setdefault(delta.index, []).append(delta.function.arguments)
    assert names == dict.fromkeys(range(calls), "weather")
    assert all(len(pieces) > 2 and json.loads("".join(pieces)) for pieces in arguments.values())
    assert reason == "tool_calls"


def test_a_tool_answer_ends_the_loop(service: Service) -> None:
    """After a tool's answer the model speaks, so that an agent comes to an end."""
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    said = {"role": "assistant", "content": None, "tool_calls": [call]}
    messages = [*user("Weather?"), said, {"role": "tool", "tool_call_id": "call_1", "content": "rain"}]
    assert service.chat("", messages=messages, tools=[WEATHER]).choices[0].message.content


@pytest.mark.parametrize("deployment", ["o4-mini", "gpt-5-nano"])
def test_a_reasoning_model_counts_its_reasoning(service: Service, deployment: str) -> None:
    """Reasoning tokens are reported, and are part of the completion's."""
    usage = service.chat("Count", model=deployment, reasoning_effort="low").usage
    assert usage.completion_tokens > usage.completion_tokens_details.reasoning_tokens == 64


def test_a_long_prompt_is_cached(service: Service) -> None:
    """From 1,024 tokens on a prompt's tokens are reported as cached, in blocks of 128."""
    assert service.chat("word " * 1200).usage.prompt_tokens_details.cached_tokens == 1152


def test_an_answer_follows_a_json_schema(service: Service) -> None:
    """With a schema the text is JSON that the schema allows."""
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": PLACE}}
    place = json.loads(service.chat("Where?", response_format=form).choices[0].message.content)
    assert place == {"name": place["name"], "kind": "city", "height": 7, "streets": [{"long": True}]}


def test_a_refusal(service: Service) -> None:
    """A refused prompt gets a refusal instead of content, in JSON and in a stream."""
    message = service.chat("[refuse]").choices[0].message
    stream = service.chat("[refuse]", stream=True)
    streamed = "".join(chunk.choices[0].delta.refusal or "" for chunk in stream if chunk.choices)
    assert (message.content, message.refusal) == (None, streamed)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_filtered_answer(service: Service, mode: str) -> None:
    """A filtered answer is a 200 that ends with content_filter; in JSON it has no message."""
    body = {"model": "prod", "messages": user("[filter the answer]")}
    status, _, answer = service.request("POST", CHAT, body, x_simulate=f"filter={mode}")
    whole = json.loads(answer)["choices"][0]
    assert (status, "message" in whole) == (200, False)
    last = service.events(f"filter={mode}", messages=body["messages"])[-2]["choices"][0]
    for choice in (whole, last):
        assert choice["finish_reason"] == "content_filter"
        assert choice["content_filter_results"]["hate"] == {"filtered": True, "severity": "high"}


# The other operations


def test_completions(service: Service) -> None:
    """Plain prompts get plain texts, the same in JSON and in a stream, with totals where asked for."""
    create, options = service.client().completions.create, {"model": "prod", "prompt": ["One", "Two"]}
    whole = create(**options)
    texts, usage = ["", ""], None
    for chunk in create(**options, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts == [choice.text for choice in whole.choices]
    assert usage == whole.usage


@pytest.mark.parametrize(("size", "dimensions"), [("small", 1536), ("large", 3072)])
def test_embeddings(service: Service, size: str, dimensions: int) -> None:
    """Vectors are the same as numbers and as base64, one for each input, and as long as the model's."""
    create, model = service.client().embeddings.create, f"text-embedding-3-{size}"
    packed = create(model=model, input=["to be embedded", "and this"])
    plain = create(model=model, input=["to be embedded", "and this"], encoding_format="float")
    assert [len(item.embedding) for item in packed.data] == [dimensions, dimensions]
    for a, b in zip(packed.data, plain.data, strict=True):
        assert a.embedding == pytest.approx(b.embedding, abs=1e-6)
    assert (packed.usage.prompt_tokens, packed.usage.total_tokens) == (5, 5)


def test_embeddings_of_a_chosen_length(service: Service) -> None:
    """`dimensions` sets the length of a vector."""
    create = service.client("v1").embeddings.create
    answer = create(model="text-embedding-3-small", input="short", dimensions=64)
    assert len(answer.data[0].embedding) == 64


@pytest.mark.parametrize("surface", SURFACES)
def test_responses(service: Service, surface: str) -> None:
    """A response has its text, its usage, and the filter's findings."""
    response = service.respond("Tell me of spans", surface=surface)
    assert (response.status, response.object) == ("completed", "response")
    assert response.usage.output_tokens == len(response.output_text.split()) > 0
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    assert [found["source_type"] for found in response.content_filters] == ["prompt", "completion"]


def test_responses_as_a_stream(service: Service) -> None:
    """Events are named and numbered, deltas join to the text, usage is in the last, no [DONE] follows."""
    body = {"model": "gpt-4o", "input": "Tell me of spans", "stream": True}
    _, headers, raw = service.request("POST", "/openai/v1/responses", body)
    names = re.findall(r"^event: (.+)$", raw.decode(), re.MULTILINE)
    events = [json.loads(data) for data in re.findall(r"^data: (.+)$", raw.decode(), re.MULTILINE)]
    assert headers["azureai-fe-is-streaming"] == "True"
    assert names == [event["type"] for event in events]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [*names[:4], names[-1]] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.completed",
    ]
    text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    assert events[0]["response"]["usage"] is None
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == text
    assert events[-1]["response"]["usage"]["output_tokens"] == len(text.split())


def test_responses_through_the_client(service: Service) -> None:
    """The client library puts a stream together: reasoning with a summary, a message, a refusal."""
    open_stream = service.client("v1").responses.stream
    with open_stream(model="o3", input="Why?", reasoning={"summary": "auto", "effort": "low"}) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert "response.reasoning_summary_text.delta" in kinds
    assert final.usage.output_tokens_details.reasoning_tokens == 64
    assert [item.type for item in final.output] == ["reasoning", "message"]
    with open_stream(model="prod", input="[refuse]") as stream:
        assert "response.refusal.delta" in [event.type for event in stream]


@pytest.mark.parametrize(("prompt", "calls"), [("Weather?", 1), ("Weather? [parallel]", 2)])
def test_responses_call_functions(service: Service, prompt: str, calls: int) -> None:
    """Function calls are items of their own, whose argument deltas join to the arguments."""
    tool = {"type": "function", "strict": False} | WEATHER["function"]
    *events, completed = service.respond(prompt, surface="azure", tools=[tool], stream=True)
    kind = "response.function_call_arguments.delta"
    deltas = "".join(event.delta for event in events if event.type == kind)
    arguments = [item.arguments for item in completed.response.output if item.type == "function_call"]
    assert (len(arguments), "".join(arguments)) == (calls, deltas)


def test_a_response_cut_at_its_limit(service: Service) -> None:
    """max_output_tokens ends a response as incomplete, with the reason, in JSON and in the last event."""
    whole = service.respond("At length", max_output_tokens=2)
    assert (whole.status, whole.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    *_, last = service.respond("At length", max_output_tokens=2, stream=True)
    assert last.type == "response.incomplete"


def test_images(service: Service) -> None:
    """Pictures are PNG files in base64, with usage in tokens."""
    answer = service.client().images.generate(model="gpt-image-1", prompt="A grey cat", n=2)
    pictures = [base64.b64decode(image.b64_json) for image in answer.data]
    assert [picture[:8] for picture in pictures] == [b"\x89PNG\r\n\x1a\n"] * 2
    assert answer.usage.input_tokens == 3


@pytest.mark.parametrize("surface", SURFACES)
def test_transcriptions(service: Service, surface: str) -> None:
    """An upload is answered with text, as JSON or plain, whichever surface it came by."""
    create, sound = service.client(surface).audio.transcriptions.create, bytes(range(256)) * 40
    answer = create(model="whisper", file=("speech.mp3", io.BytesIO(sound)))
    plain = create(model="whisper", file=("speech.mp3", io.BytesIO(sound)), response_format="text")
    assert answer.text == plain.strip() != ""


def test_speech(service: Service) -> None:
    """Speech comes as MP3 frames in chunks, more for a longer text."""
    answer = service.client().audio.speech.create(model="tts", voice="alloy", input="Two words")
    headers = answer.response.headers
    assert (headers["content-type"], headers["transfer-encoding"]) == ("audio/mpeg", "chunked")
    assert (answer.content[:2], len(answer.content)) == (b"\xff\xfb", 2 * 12 * 417)


@pytest.mark.parametrize("surface", SURFACES)
def test_models(service: Service, surface: str) -> None:
    """The list of models names those that answer."""
    assert "gpt-4o-2024-11-20" in [model.id for model in service.client(surface).models.list()]


# Headers and errors


def test_headers_of_an_answer(service: Service) -> None:
    """An answer names region, deployment, limits and its own ids, and echoes the client's request id."""
    body = {"model": "prod", "messages": user("Hi")}
    _, headers, _ = service.request("POST", CHAT, body, x_ms_client_request_id="mine")
    assert headers["x-ms-region"] == "West Europe"
    assert headers["x-ms-deployment-name"] == "prod"
    assert headers["x-ms-client-request-id"] == "mine"
    assert headers["x-ms-is-spilled-over"] == "false"
    assert headers["x-accel-buffering"] == "no"
    assert headers["apim-request-id"] != headers["x-request-id"]
    assert "server" not in headers
    for limited in ("tokens", "requests"):
        remaining, limit = (headers[f"x-ratelimit-{kind}-{limited}"] for kind in ("remaining", "limit"))
        assert int(remaining) < int(limit)


@pytest.mark.parametrize("surface", SURFACES)
def test_a_wrong_key_is_denied(service: Service, surface: str) -> None:
    """With the wrong key, as api-key or as bearer, there is a 401 in the gateway's words."""
    client = service.client(surface, key="wrong")
    with pytest.raises(openai.AuthenticationError) as denied:
        client.chat.completions.create(model="prod", messages=user("Hi"))
    assert denied.value.code == "401"


def test_no_key_is_denied(service: Service) -> None:
    """A request that shows nothing is told of its subscription key."""
    status, _, body = service.request("POST", CHAT, {}, api_key="")
    error = json.loads(body)["error"]
    assert (status, error["code"]) == (401, "401")
    assert error["message"].startswith("Access denied due to invalid subscription key")


@pytest.mark.parametrize("surface", SURFACES)
def test_a_missing_deployment(service: Service, surface: str) -> None:
    """A deployment that is not there is a 404 whose headers name the region, and nothing of a model."""
    with pytest.raises(openai.NotFoundError) as missing:
        service.chat("Hi", surface=surface, model="missing")
    assert missing.value.code == "DeploymentNotFound"
    headers = missing.value.response.headers
    ours = {name for name in headers if name.startswith(("x-ms", "x-r", "apim"))}
    assert (ours, headers["x-ms-region"]) == ({"x-ms-region", "apim-request-id"}, "West Europe")
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
    prompt = "[filter the prompt]"
    calls: dict[str, Callable[[], object]] = {
        "chat": lambda: service.chat(prompt, stream=True),
        "responses": lambda: service.respond(prompt),
        "completions": lambda: service.client().completions.create(model="prod", prompt=prompt),
    }
    with pytest.raises(openai.BadRequestError) as filtered:
        calls[operation]()
    body: Any = filtered.value.body
    assert (body["code"], body["status"]) == ("content_filter", 400)
    assert body["innererror"]["content_filter_result"]["hate"] == {"filtered": True, "severity": "high"}


@pytest.mark.parametrize(
    ("body", "param"),
    [(b"{not json", None), (b"[]", None), (b"{}", "messages"), (b'{"messages": []}', None)],
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
    body = {"messages": user("Hi"), "stream": True, "stream_options": {"include_usage": True}}
    path = "/openai/deployments/prod/chat/completions?api-version=2024-09-01-preview"
    status, _, answer = service.request("POST", path, body)
    assert (status, b'"total_tokens"' in answer) == (200, True)


def test_too_many_requests(service: Service) -> None:
    """A 429 says when to come back, in whole seconds and in milliseconds, and that nothing remains."""
    with pytest.raises(openai.RateLimitError, match="Please retry after 2 seconds") as limited:
        service.chat("Hi", "429;retry-after-ms=1500")
    headers = limited.value.response.headers
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("2", "1500")
    assert (headers["x-ratelimit-remaining-requests"], limited.value.code) == ("0", "429")


@pytest.mark.parametrize("status", [408, 422, 500, 503])
def test_other_errors(service: Service, status: int) -> None:
    """Any status from 400 on can be had, with an error in JSON and no retry-after unless given."""
    with pytest.raises(openai.APIStatusError) as failed:
        service.respond("Hi", f"status={status}")
    body: Any = failed.value.body
    assert (failed.value.status_code, bool(body["message"])) == (status, True)
    assert "retry-after" not in failed.value.response.headers


# Simulations


@pytest.mark.parametrize("word", ["cut-after", "close-after"])
def test_a_stream_breaks_off(service: Service, word: str) -> None:
    """After so many events the connection is gone: all of them arrive, then the client sees an error."""
    received = map(repr, service.chat("Hi", f"{word}=5", stream=True))
    for _ in range(5):
        next(received)
    with pytest.raises(openai.APIConnectionError):
        next(received)
    assert service.seen()["requests"][-1]["outcome"] == "broken_off"


@pytest.mark.parametrize(("word", "resets"), [("cut-after", True), ("close-after", False)])
def test_a_cut_is_a_reset(service: Service, word: str, resets: bool) -> None:
    """cut-after sends RST, close-after FIN."""
    body = json.dumps({"model": "prod", "messages": user("Hi"), "stream": True}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\napi-key: {KEY}\r\nx-simulate: {word}=2\r\n"
    host, _, port = service.url.removeprefix("http://").partition(":")
    received, reset = b"", False
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        try:
            while data := connection.recv(65536):
                received += data
        except ConnectionResetError:
            reset = True
    assert (received.count(b"data: "), reset) == (2, resets)


def test_a_json_answer_breaks_off(service: Service) -> None:
    """A JSON answer is cut in its middle."""
    with pytest.raises(openai.APIConnectionError):
        service.chat("Hi", "cut-after=0")


@pytest.mark.parametrize("words", ["silent", "stall-after=3"])
def test_a_stalled_answer_keeps_the_connection(service: Service, words: str) -> None:
    """Silence lasts until the client gives up, and the journal tells that it was the client."""
    with pytest.raises(openai.APITimeoutError):
        list(service.chat("Hi", words, stream=True, timeout=0.3))
    assert service.seen()["requests"][-1]["events"] == (0 if words == "silent" else 3)
    assert wait_for(lambda: service.seen()["requests"][-1]["outcome"] == "aborted")


def test_an_error_within_a_stream(service: Service) -> None:
    """error-event-after ends a stream of chat with an error event, and no [DONE]."""
    events = service.events("error-event-after=3")
    assert (len(events), events[-1]["error"]["type"]) == (4, "server_error")
    with pytest.raises(openai.APIError, match="had an error"):
        list(service.chat("Hi", "error-event-after=3", stream=True))


def test_an_error_within_a_response(service: Service) -> None:
    """In the Responses operation the error is an event of its own, with the next number."""
    *_, last = service.respond("Hi", "error-event-after=4", stream=True)
    assert (last.type, last.sequence_number) == ("error", 4)


def test_a_stream_without_its_end(service: Service) -> None:
    """no-done leaves out [DONE], and in the Responses operation response.completed."""
    assert service.events("no-done")[-1]["choices"][0]["finish_reason"] == "stop"
    *_, last = service.respond("Hi", "no-done", stream=True)
    assert last.type == "response.output_item.done"


def test_usage_can_be_withheld(service: Service) -> None:
    """no-usage reports none, even to a stream that asks."""
    assert service.events("no-usage", stream_options={"include_usage": True})[-2]["choices"]
    assert service.chat("Hi", "no-usage").usage is None
    assert service.respond("Hi", "no-usage").usage is None


def test_an_answer_of_a_given_length(service: Service) -> None:
    """tokens=N makes N chunks of text, each of one token, and counts them."""
    events = service.events("tokens=20000", stream_options={"include_usage": True})
    assert events[-2]["usage"]["completion_tokens"] == 20000 == len(events) - 5


def test_events_in_pieces_are_the_same_events(service: Service) -> None:
    """pieces=N changes the writes, not the bytes."""
    known = re.compile(r"'(id|created)': ('[^']*'|\d+)")
    whole, pieces = (known.sub("", str(service.events(words))) for words in ("", "pieces=7"))
    assert whole == pieces


def test_headers_can_be_simulated(service: Service) -> None:
    """Region and spill-over are as told; an empty region leaves its header out."""
    body = {"model": "prod", "messages": user("Hi")}
    _, headers, _ = service.request("POST", CHAT, body, x_simulate="region=Mars;spilled-over")
    assert (headers["x-ms-region"], headers["x-ms-is-spilled-over"]) == ("Mars", "true")
    _, headers, _ = service.request("POST", CHAT, body, x_simulate="region=")
    assert "x-ms-region" not in headers


@pytest.mark.parametrize("word", ["nonsense", "cut-after", "tokens=many", "status=200", "pieces=0"])
def test_an_unknown_word_is_an_error(service: Service, word: str) -> None:
    """A simulation that cannot be read is never passed over."""
    status, _, body = service.request("POST", CHAT, {}, x_simulate=f"no-done; {word}")
    assert (status, body.decode().endswith(word)) == (400, True)


def test_faults_apply_to_the_next_calls(service: Service) -> None:
    """A fault set aside strikes as often as told, whatever the headers say, and then no more."""
    body = {"model": "prod", "messages": user("Hi")}
    service.request("POST", "/_simulator/faults", {"simulate": "503", "times": 2})
    statuses = [service.request("POST", CHAT, body, x_simulate="429")[0] for _ in range(3)]
    assert statuses == [503, 503, 429]
    service.request("POST", "/_simulator/faults", {"simulate": "503"})
    service.request("DELETE", "/_simulator/faults")
    assert service.request("POST", CHAT, body)[0] == 200


def test_the_journal_shows_requests_as_they_came(service: Service) -> None:
    """Method, path with query, headers and body are kept as sent, and all requests are counted."""
    path = "/openai/deployments/a%20b/chat/completions?api-version=2024-10-21&x=%2F"
    body = '{ "messages":[{"role":"user","content":"Grüße"}] }'
    service.request("POST", path, body.encode(), x_mine="yes")
    seen = service.seen()
    [request] = seen["requests"]
    assert (seen["total"], request["method"], request["path"]) == (1, "POST", path)
    assert (request["body"], request["headers"]["x-mine"]) == (body, "yes")
    assert (request["status"], request["outcome"]) == (200, "completed")
    service.request("DELETE", "/_simulator/requests")
    assert service.seen() == {"total": 0, "requests": []}


# The process


def test_many_streams_at_once(service: Service) -> None:
    """Streams run side by side, each whole."""

    async def read(client: AsyncAzureOpenAI, number: int) -> int:
        messages: Any = user(f"Stream {number}")
        stream = await client.chat.completions.create(
            model="prod", messages=messages, stream=True, extra_headers={"x-simulate": "tokens=100"}
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
    service = start("--first-token-ms=0", "--filter=off", "--region=Here", "--simulate=tokens=3;token-ms=0")
    body = {"model": "prod", "messages": user("Hi"), "stream": True}
    _, headers, answer = service.request("POST", CHAT, body, api_key="")
    service.process.terminate()
    service.process.communicate(timeout=5)
    assert service.process.returncode == 0
    assert (headers["x-ms-region"], answer.count(b"data: "), b"filter" in answer) == ("Here", 3 + 3, False)


def test_it_ends_with_its_parent() -> None:
    """With --parent-pid it ends when that process is gone."""
    parent = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    service = start("--parent-pid", str(parent.pid))
    assert service.process.poll() is None
    parent.communicate()
    assert service.process.communicate(timeout=10)[1] == ""
    assert service.process.returncode == 0
