"""The simulator's chat completions: text, streams, tools, limits and filters like those of the service."""

import json
from typing import Any

import pytest

from tests.dev.simulator import CHAT, SURFACES, WEATHER, Service, user

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


@pytest.mark.parametrize("surface", SURFACES)
def test_a_json_response_has_the_shape_of_the_service(service: Service, surface: str) -> None:
    """A JSON response has text, filter results for prompt and answer, a model, and totals that add up."""
    response = service.chat("Tell me of traces", surface=surface, model="gpt-4o")
    [choice] = response.choices
    assert (choice.finish_reason, choice.message.refusal) == ("stop", None)
    assert response.model == "gpt-4o-2024-11-20"
    assert response.id.startswith("chatcmpl-")
    found = response.prompt_filter_results[0]["content_filter_results"]
    assert found["jailbreak"] == {"detected": False, "filtered": False}
    assert choice.content_filter_results["hate"] == {"filtered": False, "severity": "safe"}
    assert response.usage.prompt_tokens == 4
    assert response.usage.completion_tokens == len(choice.message.content.split()) > 0
    assert response.usage.total_tokens == 4 + response.usage.completion_tokens


def test_a_stream_has_the_chunks_of_the_service_in_order(service: Service) -> None:
    """The prompt's filter results, a role, one token per chunk, the finish reason, [DONE]; no usage."""
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


def test_include_usage_adds_a_last_chunk_with_usage(service: Service) -> None:
    """With include_usage every chunk has usage null, except the last, which has the totals and no choices."""
    *chunks, last, done = service.events(stream_options={"include_usage": True})
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == len(chunks) - 3
    assert done == "[DONE]"


def test_obfuscation_can_be_turned_off(service: Service) -> None:
    """Chunks have no padding if the client turns it off."""
    assert "obfuscation" not in str(service.events(stream_options={"include_obfuscation": False}))


def test_the_asynchronous_filter_sends_chunks_of_its_own(service: Service) -> None:
    """Findings are in separate chunks, without delta and id; their offsets cover the text."""
    chunks = [chunk for chunk in service.events("filter=async;tokens=50")[1:-1] if chunk["choices"]]
    texts = [chunk["choices"][0] for chunk in chunks if "delta" in chunk["choices"][0]]
    findings = [chunk for chunk in chunks if "delta" not in chunk["choices"][0]]
    text = "".join(choice["delta"].get("content", "") for choice in texts)
    offsets = [chunk["choices"][0]["content_filter_offsets"] for chunk in findings]
    starts, ends = ([found[f"{edge}_offset"] for found in offsets] for edge in ("start", "end"))
    assert starts == [0, *ends[:-1]]
    assert (len(ends), ends[-1]) == (3, len(text))
    assert all(chunk["id"] == "" and chunk["choices"][0]["content_filter_results"] for chunk in findings)
    assert not any("content_filter_results" in choice for choice in texts)


def test_n_choices_are_interleaved(service: Service) -> None:
    """n choices are interleaved in a stream, with the same text as in JSON, on another surface, for another model."""
    texts, order = ["", "", ""], []
    for chunk in service.chat("Three ways", n=3, stream=True, surface="v1", model="other"):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            order.append(choice.index)
    assert texts == [choice.message.content for choice in service.chat("Three ways", n=3).choices]
    assert order[:6] == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
def test_a_token_limit_cuts_the_text(service: Service, limit: str) -> None:
    """Text cut at the limit has finish reason length, and usage counts no more tokens."""
    options: dict[str, Any] = {limit: 3}
    response = service.chat("At length", **options)
    assert (response.choices[0].finish_reason, response.usage.completion_tokens) == ("length", 3)


def test_text_ends_before_a_stop_sequence(service: Service) -> None:
    """The stop sequence and what follows are left out."""
    text = service.chat("Go on").choices[0].message.content
    stop = text.split()[2]
    assert service.chat("Go on", stop=[stop]).choices[0].message.content == text.partition(stop)[0]


def test_a_request_with_tools_gets_a_tool_call(service: Service) -> None:
    """The call has arguments that the schema allows, and no content."""
    [choice] = service.chat("Weather?", tools=[WEATHER]).choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    [call] = choice.message.tool_calls
    arguments = json.loads(call.function.arguments)
    assert {name: type(value) for name, value in arguments.items()} == {"city": str, "days": int}


@pytest.mark.parametrize(("prompt", "calls"), [("Weather?", 1), ("Weather? [parallel]", 2)])
def test_tool_calls_are_streamed_in_pieces(service: Service, prompt: str, calls: int) -> None:
    """The first delta of a call has its id and name; the others have arguments that join to JSON."""
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


def test_a_tool_result_ends_the_loop(service: Service) -> None:
    """After a tool's result the model returns text, so that an agent's loop ends."""
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    said = {"role": "assistant", "content": None, "tool_calls": [call]}
    messages = [*user("Weather?"), said, {"role": "tool", "tool_call_id": "call_1", "content": "rain"}]
    assert service.chat("", messages=messages, tools=[WEATHER]).choices[0].message.content


@pytest.mark.parametrize("deployment", ["o4-mini", "gpt-5-nano"])
def test_usage_includes_reasoning_tokens(service: Service, deployment: str) -> None:
    """Reasoning tokens are reported and are part of the completion tokens."""
    usage = service.chat("Count", model=deployment, reasoning_effort="low").usage
    assert usage.completion_tokens > usage.completion_tokens_details.reasoning_tokens == 64


def test_a_long_prompt_is_cached(service: Service) -> None:
    """Prompts of 1,024 tokens or more are reported as cached, in blocks of 128."""
    assert service.chat("word " * 1200).usage.prompt_tokens_details.cached_tokens == 1152


def test_text_follows_a_json_schema(service: Service) -> None:
    """With a schema the text is JSON that the schema allows."""
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": PLACE}}
    place = json.loads(service.chat("Where?", response_format=form).choices[0].message.content)
    assert place == {"name": place["name"], "kind": "city", "height": 7, "streets": [{"long": True}]}


def test_a_refusal_replaces_content(service: Service) -> None:
    """A refused prompt gets a refusal and no content, in JSON and in a stream."""
    message = service.chat("[refuse]").choices[0].message
    stream = service.chat("[refuse]", stream=True)
    streamed = "".join(chunk.choices[0].delta.refusal or "" for chunk in stream if chunk.choices)
    assert (message.content, message.refusal) == (None, streamed)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_filtered_completion(service: Service, mode: str) -> None:
    """A filtered completion is a 200 with finish reason content_filter; in JSON it has no message."""
    body = {"model": "prod", "messages": user("[filter the answer]")}
    status, _, response = service.request("POST", CHAT, body, x_simulate=f"filter={mode}")
    whole = json.loads(response)["choices"][0]
    assert (status, "message" in whole) == (200, False)
    last = service.events(f"filter={mode}", messages=body["messages"])[-2]["choices"][0]
    for choice in (whole, last):
        assert choice["finish_reason"] == "content_filter"
        assert choice["content_filter_results"]["hate"] == {"filtered": True, "severity": "high"}
