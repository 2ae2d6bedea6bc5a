"""Completions, in JSON and as a stream."""

import json
from typing import Any

import pytest

from otel.call import Choice, Usage
from tests.app.operations.conftest import Through
from tests.app.operations.shapes import SAFE, SSE, operation, streamed, whole
from tests.kit.wire import DONE, event

KNOWN = {"id": "cmpl-1", "object": "text_completion", "created": 1774963528, "model": "gpt-35-turbo-instruct"}
FOUND = [{"prompt_index": 0, "content_filter_results": SAFE}]
USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
PATH = "/openai/deployments/instruct/completions?api-version=2024-10-21"


def choice(text: str, index: int = 0, finish_reason: str | None = None) -> dict[str, Any]:
    return {
        "text": text,
        "index": index,
        "finish_reason": finish_reason,
        "logprobs": None,
        "content_filter_results": SAFE,
    }


STREAM = [
    {**KNOWN, "choices": [], "prompt_filter_results": FOUND, "usage": None},
    {**KNOWN, "choices": [choice("Öl"), choice("Gas", 1)], "usage": None},
    {**KNOWN, "choices": [choice(" und", 0)], "usage": None},
    {**KNOWN, "choices": [choice("", 1, "length")], "usage": None},
    {**KNOWN, "choices": [choice(" Wasser", 0)], "usage": None},
    {**KNOWN, "choices": [choice("", 0, "stop")], "usage": None},
    {**KNOWN, "choices": [], "usage": USAGE},
]
CHOICES = [Choice(0, "Öl und Wasser", finish_reason="stop"), Choice(1, "Gas", finish_reason="length")]


def test_a_whole_answer_is_read() -> None:
    """Texts, finish reasons, usage, verdicts and identity."""
    body = {**KNOWN, "prompt_filter_results": FOUND, "usage": USAGE}
    answer = whole("completions", {**body, "choices": [choice("Gas", 1, "length"), choice("Öl und Wasser", 0, "stop")]})
    assert answer.choices == CHOICES
    assert answer.usage == Usage(5, 3, 8)
    assert (answer.id, answer.model) == ("cmpl-1", "gpt-35-turbo-instruct")
    assert answer.content_filter == {"prompt": SAFE, "completion": SAFE}


def test_a_stream_is_merged() -> None:
    """The texts of each choice are joined, and only [DONE] ends the stream."""
    answer, ended = streamed("completions", *STREAM)
    assert answer.choices == CHOICES
    assert answer.usage == Usage(5, 3, 8)
    assert ended is False


def test_tokens_are_recognized() -> None:
    """A non-empty text is a token."""
    reader = operation("completions").stream()
    assert [reader.event(one) for one in STREAM] == [False, True, True, False, True, False, False]


@pytest.mark.parametrize("prompt", ["Tell me", ["Tell me", "Tell us"], [1, 2, 3], [[1, 2], [3]], None])
def test_the_prompt_is_unchanged(prompt: object) -> None:
    """Texts, token ids, and lists of either."""
    request = operation("completions").read_request({"prompt": prompt, "stream": True, "model": "m"})
    assert request.prompt is not None
    assert json.loads(request.prompt) == prompt
    assert (request.stream, request.model) == (True, "m")
    assert operation("completions").read_request({}).prompt is None


def test_a_stream_passes_and_is_recorded(through: Through) -> None:
    """A stream passes unchanged, and the record has every choice."""
    body = {"prompt": "Tell me", "stream": True, "n": 2, "stream_options": {"include_usage": True}}
    record = through(PATH, body, [*map(event, STREAM), DONE], SSE)
    assert (record["operation"], record["type"], record["status"]) == (
        "text_completion",
        "stream_completion",
        "completed",
    )
    assert (record["prompt"], record["content"]) == ("Tell me", "Öl und Wasser")
    assert record["choices"] == [
        {"index": 0, "content": "Öl und Wasser", "finish_reason": "stop"},
        {"index": 1, "content": "Gas", "finish_reason": "length"},
    ]
    assert record["finish_reasons"] == ["stop", "length"]
    assert record["usage"] == USAGE
    assert record["chunks"] == len(STREAM)
    assert record["time_to_first_token_ms"] <= record["latency_ms"]
