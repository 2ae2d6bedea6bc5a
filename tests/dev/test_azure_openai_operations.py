"""The simulator's other operations, through the client library."""

import base64
import io
import json
import re
from typing import Any

import pytest

from tests.dev.simulator import SURFACES, WEATHER, Service


def test_completions(service: Service) -> None:
    """Plain prompts get plain text, the same in JSON and in a stream, with usage if requested."""
    create, options = service.client().completions.create, {"model": "prod", "prompt": ["One", "Two"]}
    whole = create(**options)
    texts, usage = ["", ""], None
    for chunk in create(**options, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts == [choice.text for choice in whole.choices]
    assert usage == whole.usage


@pytest.mark.parametrize(
    ("options", "dimensions"),
    [
        ({"model": "text-embedding-3-small"}, 1536),
        ({"model": "text-embedding-3-large"}, 3072),
        ({"model": "text-embedding-3-small", "dimensions": 64}, 64),
    ],
)
def test_embeddings(service: Service, options: dict[str, Any], dimensions: int) -> None:
    """One vector per input, of the model's or the given length, equal as numbers and as base64."""
    create, options = service.client().embeddings.create, {"input": ["to be embedded", "and this"], **options}
    packed = create(**options)
    plain = create(**options, encoding_format="float")
    assert [len(item.embedding) for item in packed.data] == [dimensions, dimensions]
    for a, b in zip(packed.data, plain.data, strict=True):
        assert a.embedding == pytest.approx(b.embedding, abs=1e-6)
    assert (packed.usage.prompt_tokens, packed.usage.total_tokens) == (5, 5)


@pytest.mark.parametrize("surface", SURFACES)
def test_responses(service: Service, surface: str) -> None:
    """A response has its text, its usage, and the filter's findings."""
    response = service.respond("Tell me of spans", surface=surface)
    assert (response.status, response.object) == ("completed", "response")
    assert response.usage.output_tokens == len(response.output_text.split()) > 0
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    assert [found["source_type"] for found in response.content_filters] == ["prompt", "completion"]


def test_responses_streams(service: Service) -> None:
    """Events are named and numbered, deltas join to the text, the last has usage, and no [DONE] follows."""
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


def test_responses_streams_are_read_by_the_client(service: Service) -> None:
    """The client library assembles a stream: reasoning with a summary, a message, a refusal."""
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
    """Function calls are separate items; their argument deltas join to the arguments."""
    tool = {"type": "function", "strict": False} | WEATHER["function"]
    *events, completed = service.respond(prompt, surface="azure", tools=[tool], stream=True)
    kind = "response.function_call_arguments.delta"
    deltas = "".join(event.delta for event in events if event.type == kind)
    arguments = [item.arguments for item in completed.response.output if item.type == "function_call"]
    assert (len(arguments), "".join(arguments)) == (calls, deltas)


def test_a_token_limit_makes_a_response_incomplete(service: Service) -> None:
    """A response cut by max_output_tokens is incomplete, with the reason, in JSON and in the last event."""
    whole = service.respond("At length", max_output_tokens=2)
    assert (whole.status, whole.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    *_, last = service.respond("At length", max_output_tokens=2, stream=True)
    assert last.type == "response.incomplete"


def test_images(service: Service) -> None:
    """Images are PNG files in base64, with usage in tokens."""
    response = service.client().images.generate(model="gpt-image-1", prompt="A grey cat", n=2)
    pictures = [base64.b64decode(image.b64_json) for image in response.data]
    assert [picture[:8] for picture in pictures] == [b"\x89PNG\r\n\x1a\n"] * 2
    assert response.usage.input_tokens == 3


@pytest.mark.parametrize("surface", SURFACES)
def test_transcriptions(service: Service, surface: str) -> None:
    """An upload gets text, as JSON or plain, on both API surfaces."""
    create, sound = service.client(surface).audio.transcriptions.create, bytes(range(256)) * 40
    response = create(model="whisper", file=("speech.mp3", io.BytesIO(sound)))
    plain = create(model="whisper", file=("speech.mp3", io.BytesIO(sound)), response_format="text")
    assert response.text == plain.strip() != ""


def test_speech(service: Service) -> None:
    """Speech is MP3 frames in chunks, more for a longer text."""
    response = service.client().audio.speech.create(model="tts", voice="alloy", input="Two words")
    headers = response.response.headers
    assert (headers["content-type"], headers["transfer-encoding"]) == ("audio/mpeg", "chunked")
    assert (response.content[:2], len(response.content)) == (b"\xff\xfb", 2 * 12 * 417)


@pytest.mark.parametrize("surface", SURFACES)
def test_models(service: Service, surface: str) -> None:
    """The list of models includes those that respond."""
    assert "gpt-4o-2024-11-20" in [model.id for model in service.client(surface).models.list()]
