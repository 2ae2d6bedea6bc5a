"""The shapes that all operations share: replies, events, errors, filter results."""

import json
import random
import string
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

type Json = dict[str, Any]

FINGERPRINT = "fp_5c1f9e0b7d"
_ALPHABET = string.ascii_letters + string.digits

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def encode(value: object) -> bytes:
    """Return compact JSON in UTF-8, as the service writes it."""
    return _encode(value).encode()


class Event(NamedTuple):
    """One event on the wire: `generated` costs the model the time of a token, `closing` ends the stream."""

    wire: bytes
    generated: bool = False
    closing: bool = False


DONE = Event(b"data: [DONE]\n\n", closing=True)


@dataclass(frozen=True)
class Whole:
    """A reply in one piece, which takes the time of `tokens` tokens."""

    body: bytes
    tokens: int = 0
    content_type: str = "application/json"


@dataclass(frozen=True)
class Stream:
    """A reply in events; if the model fails, `failure(N)` replaces event N and the rest."""

    events: Iterator[Event]
    failure: Callable[[int], bytes]
    content_type: str = "text/event-stream; charset=utf-8"


type Reply = Whole | Stream


@dataclass(eq=False)
class ServiceError(Exception):
    """A response of 400 or above; those `at_edge` come from the gateway and lack the model's own headers."""

    status: int
    body: Json
    headers: Mapping[str, str] = field(default_factory=dict)
    at_edge: bool = False
    content_type: str = "application/json"


def invalid(message: str, param: str | None = None, code: str | None = None, status: int = 400) -> ServiceError:
    """Return the model server's error for an invalid request."""
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return ServiceError(status, {"error": error})


def identifier(prefix: str, length: int = 29) -> str:
    return prefix + "".join(random.choices(_ALPHABET, k=length))


def now() -> int:
    return int(time.time())


class Template:
    """A JSON event with holes, encoded once: the events of a stream differ in only a few strings."""

    HOLE = "\0"

    def __init__(self, value: Json, prefix: bytes = b"data: ") -> None:
        self._head, *self._tails = (prefix + encode(value) + b"\n\n").split(b'"\\u0000"')

    def fill(self, *values: bytes) -> bytes:
        """Return the event with `values`, JSON texts, in its holes, in order."""
        parts = [self._head]
        for value, tail in zip(values, self._tails, strict=True):
            parts += (value, tail)
        return b"".join(parts)


_PADDINGS = tuple(encode(_ALPHABET[: 16 - length]) for length in range(16))


def obfuscation(token: str) -> bytes:
    """Return the padding, a JSON string, that hides the length of a token."""
    return _PADDINGS[len(token) % 16]


_SAFE = {"filtered": False, "severity": "safe"}
_UNDETECTED = {"detected": False, "filtered": False}


def answer_filter(severity: str = "safe") -> Json:
    """Return the filter's findings on an answer; a severity above low is filtered as hate."""
    return {
        "hate": {"filtered": severity not in ("safe", "low"), "severity": severity},
        "protected_material_code": _UNDETECTED,
        "protected_material_text": _UNDETECTED,
        "self_harm": _SAFE,
        "sexual": _SAFE,
        "violence": _SAFE,
    }


def prompt_filter() -> Json:
    return {"hate": _SAFE, "jailbreak": _UNDETECTED, "self_harm": _SAFE, "sexual": _SAFE, "violence": _SAFE}


def prompt_filter_results(prompts: int = 1) -> list[Json]:
    return [{"prompt_index": index, "content_filter_results": prompt_filter()} for index in range(prompts)]


def chat_usage(prompt: int, cached: int, completion: int, reasoning: int) -> Json:
    """Return the totals of a call as chat completions and completions report them."""
    return {
        "completion_tokens": completion,
        "completion_tokens_details": {
            "accepted_prediction_tokens": 0,
            "audio_tokens": 0,
            "reasoning_tokens": reasoning,
            "rejected_prediction_tokens": 0,
        },
        "prompt_tokens": prompt,
        "prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": cached},
        "total_tokens": prompt + completion,
    }
