"""Embeddings: unit vectors that depend on the text alone, as numbers or as base64 floats."""

import base64
import json
import math
import random
import struct
import zlib
from functools import lru_cache

from dev.azure_openai.answer import count, texts_of
from dev.azure_openai.model_request import ModelRequest
from dev.azure_openai.shapes import Json, Reply, Whole

_DIMENSIONS = 1536
_LARGE_DIMENSIONS = 3072


def embeddings(request: ModelRequest) -> Reply:
    """Respond to one request. Raises ServiceError."""
    inputs = texts_of(request.required("input"))
    model = request.model if request.model.startswith("text-embedding-") else "text-embedding-3-small"
    dimensions = request.body.get("dimensions") or (_LARGE_DIMENSIONS if model.endswith("large") else _DIMENSIONS)
    as_base64 = request.body.get("encoding_format") == "base64"
    data: list[Json] = []
    for index, text in enumerate(inputs):
        vector = _vector(text, dimensions)
        packed = base64.b64encode(struct.pack(f"<{dimensions}f", *vector)).decode() if as_base64 else None
        data.append({"object": "embedding", "index": index, "embedding": packed or vector})
    body: Json = {"object": "list", "data": data, "model": model}
    if not request.simulation.no_usage:
        tokens = sum(map(count, inputs))
        body["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
    return Whole(json.dumps(body, indent=2).encode() + b"\n")


@lru_cache(maxsize=256)
def _vector(text: str, dimensions: int) -> tuple[float, ...]:
    numbers = random.Random(zlib.crc32(text.encode()))
    vector = [numbers.uniform(-1, 1) for _ in range(dimensions)]
    length = math.hypot(*vector)
    return tuple(number / length for number in vector)
