"""Estimator: counts a call's token usage from its texts where upstream reported none.

Invariants:
  1. Only known texts are counted: what is unknown stays unknown and never becomes zero.
  2. It ends within its time limit, however long the texts are: the rest is extrapolated.
  3. It does not block the event loop. The tokenizer holds the GIL while it counts, so a thread gives it one piece at a
     time, half a millisecond of work, and yields in between.

The vocabularies come with the package bpe-openai. Each is loaded on first use: o200k_base takes 64 MB and 80 ms once,
cl100k_base 28 MB and 50 ms.
"""

import asyncio
import importlib.machinery
import importlib.util
import logging
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, Protocol, cast

from app.operations.json_text import JsonText, dump, load
from app.operations.operation import Json
from app.operations.wire import as_list, as_object, as_text
from otel.call import Answer, Call, Status, Usage
from otel.density import is_dense

log = logging.getLogger(__name__)

CALL_S: Final = 1.0
HURRY_S: Final = 0.35
"""Time limit for one call, queueing included; HURRY_S applies during a shutdown. Counting stops after three quarters of
it."""
MAX_BODY: Final = 8 << 20
MAX_CHARS: Final = 1_000_000
PIECE: Final = 4096
DEPTH: Final = 6
"""Nesting limit for messages; upstream accepts none that is deeper."""

# github.com/openai/openai-cookbook: How to count tokens with tiktoken, sections 6 and 7
PER_MESSAGE: Final = 3
PER_NAME: Final = 1
PER_REPLY: Final = 3
PER_FUNCTION: Final = 7
PER_PROPERTIES: Final = 3
PER_PROPERTY: Final = 3
PER_ENUM: Final = -3
PER_ENUM_ITEM: Final = 3
PER_TOOLS: Final = 12
PER_CALL: Final = 7  # overhead of a generated tool call, from recorded responses of gpt-4o
# images are not inspected: the cost of 1024 by 1024 pixels, and the fixed cost of low detail
PER_IMAGE: Final = 765
PER_SMALL_IMAGE: Final = 85

_COUNTED: Final = frozenset({"chat", "text_completion", "embeddings"})
_OLD_MODEL: Final = re.compile(r"gpt-?4(?![o.\d])|gpt-?3|embedding|babbage|davinci", re.IGNORECASE)
_TEXTS: Final = frozenset({"role", "name", "content", "text", "refusal", "arguments", "output", "input", "reasoning"})
_HOLDERS: Final = frozenset({"content", "tool_calls", "function_call", "function", "custom", "output", "summary"})


class Tokenizer(Protocol):
    """Counts tokens by one vocabulary."""

    def count(self, text: str) -> int:
        """The number of tokens in a text; raises UnicodeEncodeError for a lone surrogate."""
        ...


def load_tokenizer(encoding: str) -> Tokenizer:
    """The tokenizer of an encoding, o200k_base or cl100k_base. Raises ImportError if it is not available.

    Loads only the package's extension module: importing the package itself reads three vocabularies into Python
    objects, which takes a second and 66 MB and is not needed to count.
    """
    package = importlib.util.find_spec("bpe_openai")
    name = "bpe_openai._bindings"
    places = package.submodule_search_locations if package is not None else None
    found = importlib.machinery.PathFinder.find_spec(name, places) if places is not None else None
    if found is None or found.loader is None:
        raise ImportError("bpe-openai is not installed, or has changed")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return cast("Tokenizer", module.tokenizer_for_encoding(encoding))


def encoding_of(model: str | None) -> str:
    """The encoding of a model, or of a deployment named after one: the newest unless the model is a known older one."""
    return "cl100k_base" if model and _OLD_MODEL.search(model) else "o200k_base"


class Estimator:
    """Shared by all calls; counts one call at a time."""

    def __init__(self, load: Callable[[str], Tokenizer] = load_tokenizer) -> None:
        """`load` returns the tokenizer of an encoding or raises ImportError."""
        self._load = load
        self._tokenizers: dict[str, Tokenizer | None] = {}
        self._thread = ThreadPoolExecutor(1, "estimate")

    def applies(self, call: Call) -> bool:
        """Whether upstream gave an answer of the operation, all of it known, and reported no usage."""
        answer = call.answer
        return (
            (answer.usage is None or (answer.usage.completion_tokens is None and call.api_type == "messages"))
            and answer.recognized
            and not answer.pending
            and not answer.truncated
            and call.operation in _COUNTED
            and call.http_status is not None
            and call.http_status < 400
            and (call.status is not Status.UPSTREAM_ERROR or bool(Texts.of_answer(answer).texts))
        )

    async def estimate(self, call: Call, sent: JsonText | None, hurry: bool = False) -> None:
        """Set the call's usage if it can be counted in time; `sent` is the client's body."""
        if sent is None or len(sent) > MAX_BODY:
            return
        limit = HURRY_S if hurry else CALL_S
        until = time.monotonic() + 0.75 * limit
        encoding = encoding_of(call.answer.model or call.model)
        work = asyncio.get_running_loop().run_in_executor(
            self._thread, self._count, encoding, call.operation == "chat", sent, Texts.of_answer(call.answer), until
        )
        done, _ = await asyncio.wait((work,), timeout=limit)
        if not done:
            work.add_done_callback(_discard)
        elif (fault := work.exception()) is not None:
            log.warning("a call's usage could not be estimated: %s", type(fault).__name__)
        elif (usage := work.result()) is not None:
            told, call.answer.usage_source = call.answer.usage, "estimated"
            if told is not None and told.prompt_tokens is not None:  # a stream that broke before its last counts
                usage = Usage(told.prompt_tokens, usage.completion_tokens, None, told.details)
                usage.total_tokens = told.prompt_tokens + (usage.completion_tokens or 0)
            call.answer.usage = usage

    def _count(self, encoding: str, chat: bool, sent: JsonText, answer: "Texts", until: float) -> Usage | None:
        """Runs in the thread; None if the usage is unknown, or nothing was counted in time."""
        if time.monotonic() >= until or (tokenizer := self._tokenizer(encoding)) is None:
            return None
        body = None if is_dense(sent) else load(sent)
        request = Texts.of_request(body, chat) if isinstance(body, dict) else Texts()
        completion = count(tokenizer, answer.texts, until) if answer.texts else None
        prompt = count(tokenizer, request.texts, until)
        if prompt is None or (answer.texts and completion is None) or prompt + request.fixed == 0:
            return None
        prompt += request.fixed
        completion = None if completion is None else completion + answer.fixed
        return Usage(prompt, completion, prompt + (completion or 0))

    def _tokenizer(self, encoding: str) -> Tokenizer | None:
        if encoding not in self._tokenizers:
            try:
                self._tokenizers[encoding] = self._load(encoding)
            except ImportError as fault:
                log.warning("no usage can be estimated: %s", fault)
                self._tokenizers[encoding] = None
        return self._tokenizers[encoding]


@dataclass(slots=True)
class Texts:
    """What is counted on one side of a call: its texts and the fixed number of tokens around them."""

    texts: list[str] = field(default_factory=list)
    fixed: int = 0

    @classmethod
    def of_answer(cls, answer: Answer) -> "Texts":
        """All generated texts."""
        calls = [call for choice in answer.choices for call in choice.tool_calls]
        texts = [text for choice in answer.choices for text in (choice.content, choice.refusal, choice.reasoning)]
        texts += [text for call in calls for text in (call.name, call.arguments)]
        return cls([text for text in texts if text], PER_CALL * len(calls))

    @classmethod
    def of_request(cls, body: Json, chat: bool) -> "Texts":
        """All texts of a request body; with `chat`, its members are messages, otherwise bare texts."""
        request = cls(fixed=PER_REPLY if chat else 0)
        for member in ("messages", "instructions", "input", "prompt"):
            value = body.get(member) or None
            if chat:
                request._add_messages([{"role": "user", "content": value}] if isinstance(value, str) else value)
            else:
                request._add_text(value)
        request._add_tools(body)
        return request

    def _add_messages(self, messages: object) -> None:
        for message in as_list(messages):
            self.fixed += PER_MESSAGE
            self._add(message)

    def _add(self, value: object, depth: int = 0) -> None:
        if isinstance(value, dict) and value.get("type") in ("image_url", "input_image"):
            detail = as_object(value.get("image_url")).get("detail", value.get("detail"))
            self.fixed += PER_SMALL_IMAGE if detail == "low" else PER_IMAGE
        elif isinstance(value, dict):
            for name, entry in value.items():
                if isinstance(entry, str) and name in _TEXTS:
                    self.texts.append(entry)
                    self.fixed += PER_NAME if name == "name" else 0
                elif name in _HOLDERS and depth < DEPTH:
                    self._add(entry, depth + 1)
        elif depth < DEPTH:
            for entry in as_list(value):
                self._add(entry, depth + 1)

    def _add_text(self, value: object, depth: int = 0) -> None:
        """Add a text, token ids, or a list of either."""
        if isinstance(value, str):
            self.texts.append(value)
        elif isinstance(value, int):
            self.fixed += 1
        elif depth < DEPTH:
            for entry in as_list(value):
                self._add_text(entry, depth + 1)

    def _add_tools(self, body: Json) -> None:
        functions = [as_object(entry) for entry in (*as_list(body.get("tools")), *as_list(body.get("functions")))]
        self.fixed += PER_TOOLS if functions else 0
        for entry in functions:
            self._add_function(as_object(entry.get("function")) or entry)
        wanted = as_object(body.get("response_format")).get("json_schema", as_object(body.get("text")).get("format"))
        if (schema := as_object(wanted).get("schema")) is not None:
            self.texts.append(dump(schema))

    def _add_function(self, function: Json) -> None:
        self.fixed += PER_FUNCTION
        self.texts.append(f"{as_text(function.get('name')) or ''}:{as_text(function.get('description')) or ''}")
        properties = as_object(as_object(function.get("parameters")).get("properties"))
        self.fixed += PER_PROPERTIES if properties else 0
        for name, entry in properties.items():
            schema = as_object(entry)
            self.fixed += PER_PROPERTY
            self.texts.append(f"{name}:{as_text(schema.get('type')) or ''}:{as_text(schema.get('description')) or ''}")
            if items := [item for item in as_list(schema.get("enum")) if isinstance(item, str)]:
                self.fixed += PER_ENUM + PER_ENUM_ITEM * len(items)
                self.texts += items
            self.texts += [dump(schema[inner]) for inner in ("properties", "items") if inner in schema]


def count(tokenizer: Tokenizer, texts: list[str], until: float = float("inf")) -> int | None:
    """The tokens of all texts; None if nothing was counted before `until` (`time.monotonic`).

    Past MAX_CHARS characters or `until`, the rest is extrapolated from what was counted.
    """
    total, seen, tokens, turn = sum(map(len, texts)), 0, 0, 0
    for text in texts:
        for piece in pieces(text):
            if seen >= MAX_CHARS or time.monotonic() >= until:
                return round(tokens * total / seen) if seen else None
            try:
                tokens += tokenizer.count(piece)
            except UnicodeEncodeError:
                tokens += tokenizer.count(piece.encode("utf-8", "replace").decode())
            seen += len(piece)
            if (turn := turn + len(piece) + 64) >= PIECE:
                turn = 0
                time.sleep(0)
    return tokens


def pieces(text: str) -> Iterator[str]:
    """A text in pieces of at most PIECE characters, split before a space where possible, as tokens are."""
    start = 0
    while len(text) - start > PIECE:
        end = text.rfind(" ", start + 1, start + PIECE)
        end = start + PIECE if end < 0 else end
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def _discard(work: "asyncio.Future[Usage | None]") -> None:
    """Retrieve a late exception, so that asyncio does not log it as never retrieved."""
    if not work.cancelled():
        work.exception()
