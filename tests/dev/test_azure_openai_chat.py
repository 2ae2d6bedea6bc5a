"""The simulator's chat completions: text, streams, tools, limits and filters as the service has them."""

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
