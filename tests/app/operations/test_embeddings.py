"""Embeddings: input and usage, never a vector, however large the answer."""

import gzip
import json
import random
from typing import Any

import pytest

from app.answer.whole import MAX_BULK
from otel import attributes as a
from otel.call import Status, Usage
from tests.app.operations.conftest import Through
from tests.app.operations.shapes import operation, read, whole

USAGE = {"prompt_tokens": 8, "total_tokens": 8}
PATH = "/openai/deployments/vectors/embeddings?api-version=2024-10-21"


def answer(vectors: int, as_base64: bool = False, **layout: Any) -> bytes:
    numbers = random.Random(vectors)
    vector = "R215PJSD2rxNBWc6" * 512 if as_base64 else [numbers.uniform(-1, 1) for _ in range(1536)]
    data = [{"object": "embedding", "index": index, "embedding": vector} for index in range(vectors)]
    body = {"object": "list", "data": data, "model": "text-embedding-3-large", "usage": USAGE}
    return json.dumps(body, **layout).encode() + b"\n"


def test_request_facts_are_read() -> None:
    """Input, model, encoding and dimensions."""
    body = {"input": ["a", "ü"], "model": "vectors", "encoding_format": "base64", "dimensions": 256, "user": "u"}
    request = operation("embeddings").read_request(body)
    assert (request.prompt, request.model, request.stream) == ('["a","ü"]', "vectors", False)
    assert request.parameters == {a.REQUEST_ENCODING_FORMATS: ("base64",), a.EMBEDDINGS_DIMENSION_COUNT: 256}


def test_usage_has_no_completion_tokens() -> None:
    """The completion count is absent, not zero."""
    found = whole("embeddings", json.loads(answer(1)))
    assert found.usage == Usage(8, None, 8)
    assert (found.model, found.choices) == ("text-embedding-3-large", [])


@pytest.mark.parametrize("as_base64", [False, True])
def test_vectors_are_not_recorded(through: Through, as_base64: bool) -> None:
    """Vectors pass unchanged, as numbers or base64; the record has everything else."""
    record = through(PATH, {"input": "Öl", "encoding_format": "float"}, answer(40, as_base64))
    assert (record["operation"], record["type"], record["status"]) == ("embeddings", "completion", "completed")
    assert (record["prompt"], record["content"], record["usage"]) == ("Öl", "", USAGE)
    assert (record["usage_source"], record["model"]) == ("reported", "text-embedding-3-large")
    assert "truncated" not in record
    assert len(json.dumps(record)) < 2000


@pytest.mark.parametrize("encoding", [None, "gzip"])
@pytest.mark.parametrize("layout", [{}, {"indent": 2}, {"separators": (",", ":")}])
@pytest.mark.parametrize("size", [1000, 65536])
def test_a_large_answer_is_read_from_its_end(encoding: str | None, layout: dict[str, Any], size: int) -> None:
    """Only the end of a large answer is kept, whatever its layout, and that has all facts."""
    body = answer(30, **layout)
    assert len(body) > MAX_BULK
    sent = gzip.compress(body) if encoding else body
    call = read("embeddings", [sent[at : at + size] for at in range(0, len(sent), size)], encoding=encoding)
    assert (call.answer.usage, call.answer.model) == (Usage(8, None, 8), "text-embedding-3-large")
    assert (call.status, call.answer.truncated) == (Status.COMPLETED, False)
    assert call.response_bytes == len(sent)


@pytest.mark.parametrize("lost", [1, 30, 90, 5000])
def test_a_broken_large_answer_has_no_usage(lost: int) -> None:
    """Without its end, a large answer gives no facts."""
    body = answer(30)[:-lost].rstrip().removesuffix(b"}")
    call = read("embeddings", [body], complete=False)
    assert (call.answer.usage, call.answer.usage_source) == (None, "missing")
