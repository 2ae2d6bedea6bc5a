"""The simulator's other operations keep the service's promises to the service's own client."""

import base64
import io
import json
import re

import pytest

from tests.dev.simulator import SURFACES, WEATHER, Service


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
