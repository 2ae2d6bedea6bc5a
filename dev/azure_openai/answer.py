"""What the model says: answers, tool calls and token counts, which depend on the prompt alone."""

import json
import re
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from dev.azure_openai.errors import prompt_filtered
from dev.azure_openai.shapes import Json, identifier

FILTER_PROMPT = "[filter the prompt]"
FILTER_ANSWER = "[filter the answer]"
REFUSE = "[refuse]"
PARALLEL = "[parallel]"

REFUSAL = "I'm sorry, but I can't help with that."
_ANSWERS = (
    "A trace shows where the time went: one span for each step, each with a beginning, an end and a cause.",
    "Latency has two parts that matter to a reader: the wait for the first word, and the pace after it.",
    "Drei Dinge zählen: was gefragt wurde, was geantwortet wurde und wie lange es dauerte. Nichts fällt weg.",
    "Certainly! ✅ Here is a short list:\n\n1. Measure first.\n2. Change one thing.\n3. Measure again. 🚀",
    "記録 は 短い ほど 良い。 Keep the record small, and keep every record.",
    'Mind `data: {}`:\n\n```python\nfor chunk in stream:\n    print(chunk)\n```\nprints a "chunk".',
)
_REASONING = {"none": 0, "minimal": 0, "low": 64, "medium": 192, "high": 512, "xhigh": 1024}
_CACHE_BLOCK = 128
_CACHE_FROM = 1024


@dataclass(frozen=True)
class Tool:
    """A function that the model may call; `parameters` is a JSON schema."""

    name: str
    parameters: Json


@dataclass(frozen=True)
class ToolCall:
    """A call of a function; `arguments` is JSON text."""

    id: str
    name: str
    arguments: str

    @property
    def pieces(self) -> list[str]:
        """The arguments in the pieces that a stream sends."""
        return re.findall(r".{1,6}", self.arguments)


@dataclass(frozen=True)
class Prompt:
    """What determines an answer, for every operation. `length` fixes the number of its tokens."""

    text: str
    tools: tuple[Tool, ...] = ()
    parallel: bool = True
    schema: Json | None = None
    limit: int | None = None
    stop: tuple[str, ...] = ()
    reasoning: int = 0
    length: int | None = None

    @property
    def tokens(self) -> int:
        return count(self.text)

    @property
    def cached_tokens(self) -> int:
        """The service caches prompts from 1,024 tokens on, in blocks of 128; here every such prompt hits the cache."""
        return self.tokens // _CACHE_BLOCK * _CACHE_BLOCK if self.tokens >= _CACHE_FROM else 0


@dataclass(frozen=True)
class Answer:
    """One choice: the pieces of its text, one per token, or its tool calls, and why it ended."""

    pieces: tuple[str, ...]
    finish_reason: str
    tool_calls: tuple[ToolCall, ...] = ()
    refused: bool = False
    reasoning_tokens: int = 0

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def tokens(self) -> int:
        generated = len(self.pieces) + sum(len(call.pieces) + 1 for call in self.tool_calls)
        return generated + self.reasoning_tokens

    @property
    def filtered(self) -> bool:
        return self.finish_reason == "content_filter"


def compose(prompt: Prompt, index: int = 0) -> Answer:
    """Return choice `index` of the answer to a prompt. Raises ServiceError if the prompt is filtered."""
    if FILTER_PROMPT in prompt.text:
        raise prompt_filtered()
    if REFUSE in prompt.text:
        return Answer(pieces_of(REFUSAL), "stop", refused=True)
    reasoning = prompt.reasoning if prompt.limit is None else min(prompt.reasoning, prompt.limit)
    if prompt.tools:
        return Answer((), "tool_calls", _tool_calls(prompt), reasoning_tokens=reasoning)
    pieces, reason = _text_pieces(prompt, index), "stop"
    if prompt.limit is not None and len(pieces) > prompt.limit - reasoning:
        pieces, reason = pieces[: prompt.limit - reasoning], "length"
    if FILTER_ANSWER in prompt.text:
        pieces, reason = pieces[: len(pieces) // 2], "content_filter"
    return Answer(pieces, reason, reasoning_tokens=reasoning)


def _text_pieces(prompt: Prompt, index: int) -> tuple[str, ...]:
    if prompt.schema is not None:
        return pieces_of(json.dumps(example(prompt.schema), ensure_ascii=False))
    text = _ANSWERS[zlib.crc32(f"{prompt.text}#{index}".encode()) % len(_ANSWERS)]
    for stop in prompt.stop:
        text = text.partition(stop)[0]
    pieces = pieces_of(text)
    if prompt.length is None:
        return pieces
    repeated = (pieces_of(" " + text) * (prompt.length // max(len(pieces), 1) + 1))[: prompt.length]
    return pieces[:1] + repeated[1:]


def _tool_calls(prompt: Prompt) -> tuple[ToolCall, ...]:
    tools = prompt.tools[:1]
    if PARALLEL in prompt.text and prompt.parallel:
        tools = prompt.tools[:2] if len(prompt.tools) > 1 else prompt.tools * 2
    return tuple(ToolCall(identifier("call_", 24), tool.name, json.dumps(example(tool.parameters))) for tool in tools)


@lru_cache(maxsize=256)
def pieces_of(text: str) -> tuple[str, ...]:
    """Split a text into tokens: words, each with the space before it."""
    return tuple(re.findall(r"\s*\S+|\s+$", text))


def count(text: str) -> int:
    """Return the number of tokens in a text."""
    return len(text.split())


def text_of(value: object) -> str:
    """Return all text in messages, content parts or plain strings, one line each."""
    match value:
        case str():
            return value
        case list():
            return "\n".join(filter(None, map(text_of, value)))
        case {"text": text} | {"content": text} | {"output": text}:
            return text_of(text)
    return ""


def texts_of(value: object) -> list[str]:
    """Return the prompts or inputs of a request: one text, one list of token ids, or a list of either."""
    match value:
        case [str() | list(), *_]:
            return [text for one in value for text in texts_of(one)]
        case list():
            return [" ".join(map(str, value))]
    return [str(value)]


def reasoning_tokens(effort: str | None) -> int:
    return _REASONING.get(effort or "medium", 192)


def example(schema: Any, root: Any = None) -> Any:
    """Return a value that a simple JSON schema allows: objects, arrays, enums, unions and internal $ref."""
    root = schema if root is None else root
    match schema:
        case {"$ref": str(reference)}:
            target = root
            for step in reference.removeprefix("#").strip("/").split("/"):
                target = target[step] if step else target
            return example(target, root)
        case {"const": value} | {"enum": [value, *_]}:
            return value
        case {"anyOf": [first, *_]} | {"oneOf": [first, *_]} | {"allOf": [first, *_]}:
            return example(first, root)
        case {"type": [first, *_]}:
            return example(schema | {"type": first}, root)
        case {"type": "object"} | {"properties": _}:
            return {name: example(inner, root) for name, inner in schema.get("properties", {}).items()}
        case {"type": "array"}:
            return [example(schema.get("items", {}), root)] * max(schema.get("minItems", 1), 1)
        case {"type": "integer"}:
            return max(7, schema.get("minimum", 7)) if schema.get("maximum", 7) >= 7 else schema["maximum"]
        case {"type": "number"}:
            return schema.get("minimum", schema.get("maximum", 0.5))
        case {"type": "boolean"}:
            return True
        case {"type": "null"}:
            return None
        case {"type": "string"}:
            return "Sweden Central"
    return {}
