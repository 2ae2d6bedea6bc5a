"""The openai SDK's other operations: the record matches what the SDK received."""

import asyncio
import base64
import io
import json
from typing import Any

import pytest

from tests.app.sdk.clients import Place, async_client, sync_client, v1_client
from tests.kit.azure import DATED, MODEL, Trace
from tests.kit.hub import Record
from tests.kit.proxy import ProxyThread

WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}
SOUND = bytes(range(256)) * 400


def counts(record: Record) -> tuple[int, int]:
    return record["usage"]["prompt_tokens"], record["usage"]["completion_tokens"]


@pytest.mark.parametrize("make", [sync_client, v1_client])
def test_a_response(running: ProxyThread, trace: Trace, make: Any) -> None:
    """`responses.create`, on either surface: text, usage, model and instructions are recorded."""
    with make(running) as client:
        answer = client.responses.create(
            model=MODEL, input="Hello", instructions="Be brief.", extra_headers=trace.headers
        )
    record = trace.record()
    assert record["content"] == answer.output_text != ""
    assert counts(record) == (answer.usage.input_tokens, answer.usage.output_tokens)
    assert (record["operation"], record["status"], record["response_id"]) == ("chat", "completed", answer.id)
    assert (record["model"], record["deployment"]) == (DATED, MODEL)
    assert (record["prompt"], record["instructions"]) == ("Hello", "Be brief.")


def test_a_streamed_response(running: ProxyThread, trace: Trace) -> None:
    """`responses.stream` with a format: the SDK's object is parsed from the recorded text."""
    with (
        v1_client(running) as client,
        client.responses.stream(model=MODEL, input="A place", text_format=Place, extra_headers=trace.headers) as events,
    ):
        seen = [event.type for event in events]
        final = events.get_final_response()
    record = trace.record()
    assert seen[-1] == "response.completed"
    assert Place.model_validate_json(record["content"]) == final.output_parsed
    assert (record["type"], record["status"]) == ("stream_completion", "completed")
    assert final.usage is not None
    assert counts(record) == (final.usage.input_tokens, final.usage.output_tokens)
    assert record["time_to_first_chunk_ms"] <= record["time_to_first_token_ms"] <= record["latency_ms"]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_response_that_calls_functions(running: ProxyThread, trace: Trace, streamed: bool) -> None:
    """Two function calls, streamed or not, are recorded as the SDK assembles them."""

    async def ask() -> Any:
        asked: Any = {"model": MODEL, "input": "Weather? [parallel]", "tools": [WEATHER]}
        async with async_client(running) as client:
            if not streamed:
                return await client.responses.create(**asked, extra_headers=trace.headers)
            async with client.responses.stream(**asked, extra_headers=trace.headers) as events:
                return await events.get_final_response()

    calls = [item for item in asyncio.run(ask()).output if item.type == "function_call"]
    record = trace.record()
    assert len(calls) == 2
    assert record["tool_calls"] == [
        {"id": call.call_id, "name": call.name, "arguments": call.arguments} for call in calls
    ]
    assert record["content"] == ""


def test_a_response_with_reasoning(running: ProxyThread, trace: Trace) -> None:
    """The reasoning summary has its own field, and so have its tokens."""
    with v1_client(running) as client:
        answer = client.responses.create(
            model="o3", input="Why?", reasoning={"summary": "auto"}, extra_headers=trace.headers
        )
    (thought,) = (item for item in answer.output if item.type == "reasoning")
    record = trace.record()
    assert record["reasoning"] == "".join(part.text for part in thought.summary) != ""
    assert answer.usage is not None
    details = record["usage"]["output_tokens_details"]
    assert details["reasoning_tokens"] == answer.usage.output_tokens_details.reasoning_tokens > 0


def test_embeddings(running: ProxyThread, trace: Trace) -> None:
    """The SDK gets its vectors, in base64; the record has texts and usage, and no vectors."""
    with sync_client(running) as client:
        answer = client.embeddings.create(
            model="text-embedding-3-small", input=["one", "two 2"], extra_headers=trace.headers
        )
    record = trace.record()
    assert [len(item.embedding) for item in answer.data] == [1536, 1536]
    assert (record["operation"], record["prompt"], record["content"]) == ("embeddings", ["one", "two 2"], "")
    assert record["usage"] == answer.usage.model_dump()
    assert len(json.dumps(record)) < 2000


@pytest.mark.parametrize("streamed", [False, True])
def test_completions(running: ProxyThread, trace: Trace, streamed: bool) -> None:
    """Legacy completions: the record has the first choice's text, and each choice."""
    with sync_client(running) as client:
        answer: Any = client.completions.create(
            model=MODEL, prompt=["One", "Two"], stream=streamed, extra_headers=trace.headers
        )
        texts = ["", ""]
        for part in answer if streamed else [answer]:
            for choice in part.choices:
                texts[choice.index] += choice.text
    record = trace.record()
    assert all(texts)
    assert (record["operation"], record["prompt"]) == ("text_completion", ["One", "Two"])
    assert record["content"] == texts[0]
    assert [choice["content"] for choice in record["choices"]] == texts
    assert record["usage_source"] == "reported"


def test_images(running: ProxyThread, trace: Trace) -> None:
    """An image arrives complete and is not recorded; its prompt and usage are."""
    with sync_client(running) as client:
        answer = client.images.generate(model="gpt-image-1", prompt="A grey cat", extra_headers=trace.headers)
    record = trace.record()
    assert answer.data
    assert base64.b64decode(answer.data[0].b64_json or "").startswith(b"\x89PNG")
    assert (record["operation"], record["prompt"], record["content"]) == ("image_generation", "A grey cat", "")
    assert answer.usage is not None
    assert record["usage"]["total_tokens"] == answer.usage.total_tokens
    assert (answer.data[0].b64_json or "")[:100] not in json.dumps(record)


def test_speech(running: ProxyThread, trace: Trace) -> None:
    """Audio passes unchanged; the record has its text, and its size in bytes."""
    with sync_client(running) as client:
        answer = client.audio.speech.create(model="tts", voice="alloy", input="Two words", extra_headers=trace.headers)
    record = trace.record()
    assert answer.content.startswith(b"\xff\xfb")
    assert (record["operation"], record["prompt"], record["content"]) == ("speech", "Two words", "")
    assert record["response_bytes"] == len(answer.content)


@pytest.mark.parametrize("make", [sync_client, v1_client])
def test_transcriptions(running: ProxyThread, trace: Trace, make: Any) -> None:
    """For a form with audio the record has the transcript and the deployment, but not the audio."""
    with make(running) as client:
        file = ("speech.mp3", io.BytesIO(SOUND))
        answer = client.audio.transcriptions.create(model="whisper", file=file, extra_headers=trace.headers)
    record = trace.record()
    assert (record["operation"], record["content"], record["prompt"]) == ("transcription", answer.text, None)
    assert record["deployment"] == "whisper"
    assert record["request_bytes"] > len(SOUND)


def test_the_list_of_models(running: ProxyThread, trace: Trace) -> None:
    """It passes, and leaves a plain record with status and size."""
    with v1_client(running) as client:
        assert DATED in [model.id for model in client.models.list(extra_headers=trace.headers)]
    record = trace.record()
    assert (record["operation"], record["status"], record["http_status"]) == ("call", "completed", 200)
    assert (record["prompt"], record["content"], record["usage"]) == (None, "", None)
    assert record["response_bytes"] > 0
