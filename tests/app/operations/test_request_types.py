"""Bodies of openai-python's request types: every member is recorded, and reduced, no text of a client's is left."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import settings as trials
from hypothesis import strategies as st
from openai.types.audio.speech_create_params import SpeechCreateParams
from openai.types.chat import completion_create_params as chat
from openai.types.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.embedding_create_params import EmbeddingCreateParams
from openai.types.image_generate_params import ImageGenerateParamsNonStreaming
from openai.types.responses import response_create_params as responses

from app.operations.members import WORDS, Members, other_members, reduced_members
from app.operations.openai import OPENAI

TYPES: dict[str, type] = {
    "chat/completions": chat.CompletionCreateParamsNonStreaming,
    "responses": responses.ResponseCreateParamsNonStreaming,
    "completions": CompletionCreateParamsNonStreaming,
    "embeddings": EmbeddingCreateParams,
    "images/generations": ImageGenerateParamsNonStreaming,
    "audio/speech": SpeechCreateParams,
}
LISTED = frozenset().union(*WORDS.values())


def _some(iterable: Any) -> list[object]:
    """The first of what may be endless; raises TypeError for anything else."""
    return list(itertools.islice(iterable, 9))


def as_sent(generated: object) -> Members:
    """The body as JSON carries it; a type may allow objects that JSON cannot."""
    try:
        text = json.dumps(generated, default=_some, allow_nan=False).encode("utf-8", "surrogatepass")
    except (TypeError, ValueError):
        assume(False)
    return Members.of(text)


def texts(value: object) -> set[str]:
    """Every text in a JSON value."""
    match value:
        case str():
            return {value}
        case dict():
            return set().union(*map(texts, value.values()))
        case list():
            return set().union(*map(texts, value))
    return set()


@pytest.mark.parametrize("suffix", TYPES)
@trials(max_examples=100)
@given(st.data())
def test_every_member_is_recorded(suffix: str, data: st.DataObject) -> None:
    """The prompt, the instructions and the other members together are the body, unchanged."""
    body = as_sent(data.draw(st.from_type(TYPES[suffix])))
    operation = OPENAI.operation(OPENAI.target(f"/openai/v1/{suffix}"))
    request, apart = operation.read_request(body), operation.recorded_apart(body)
    recorded: dict[str, Any] = json.loads(other_members(body, apart))
    fields = [json.loads(text) for text in (request.prompt, request.instructions) if text is not None]
    sent = {name: json.loads(body.text(name)) for name in body}
    assert {**recorded, **{name: sent[name] for name in apart & body.keys()}} == sent
    assert all(field in [sent[name] for name in apart & body.keys()] for field in fields)
    assert len(fields) == len(apart & body.keys())


@pytest.mark.parametrize("suffix", TYPES)
@trials(max_examples=100)
@given(st.data())
def test_without_content_no_text_is_left(suffix: str, data: st.DataObject) -> None:
    """Only words of the API's own and the model's name remain."""
    body = as_sent(data.draw(st.from_type(TYPES[suffix])))
    operation = OPENAI.operation(OPENAI.target(f"/openai/v1/{suffix}"))
    reduced = json.loads(reduced_members(body, operation.recorded_apart(body)))
    assert texts({name: value for name, value in reduced.items() if name != "model"}) <= LISTED
