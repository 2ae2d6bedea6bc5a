"""Redactor: replaces what PROXY_REDACT's patterns match in all content of a call, before any of it is written.

Invariants:
  1. Text that could not be searched to its end in time is dropped and marked, never recorded.
  2. JSON stays JSON: the patterns see its strings, names of members included, without escapes.
  3. It ends within its time limit, whatever the patterns and texts, and delays neither the event loop nor a byte of the
     response: a thread does the work after the last byte, and searching releases the GIL. Only the marker that ends a
     body without a length waits for it, since the record comes before the call's end.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from app.operations.json_text import dump, load
from otel import attributes as a
from otel.call import Call, Choice, ToolCall
from otel.density import is_dense

if TYPE_CHECKING:
    from regex import Pattern

log = logging.getLogger(__name__)

REDACTED: Final = "[redacted]"
DROPPED: Final = "[dropped: redaction took too long]"
CALL_S: Final = 1.0
HURRY_S: Final = 0.35
"""Time limit for all texts of one call; HURRY_S applies during a shutdown."""
TEXT_S: Final = 0.05
"""Time limit for one pattern on one text, in CPU time of all threads, as `regex` counts it."""
CHAR_S: Final = 1e-6
"""Added to both limits per character: ordinary patterns take 0.01 to 0.35 of that, pathological ones far more."""
MOST_S: Final = 5.0
QUIET_S: Final = 60.0


class Redactor:
    """Shared by all calls; does nothing without patterns."""

    def __init__(self, patterns: Sequence[str], call_s: float = CALL_S) -> None:
        """`patterns` are valid regular expressions; `call_s` is the time limit of a call in seconds."""
        self._patterns = _compiled(patterns)
        self._call_s = call_s
        self._threads = ThreadPoolExecutor(2, "redact") if patterns else None
        self._warned_at = -QUIET_S
        self.dropped = 0
        """Texts dropped because they could not be searched in time."""

    @property
    def active(self) -> bool:
        """Whether there are patterns."""
        return self._threads is not None

    def applies(self, call: Call) -> bool:
        """Whether the content of this call must be redacted before it is written."""
        return self._threads is not None and call.capture_content

    async def redact(self, call: Call, hurry: bool = False) -> bool:
        """Redact all content of the call; False if that failed or took too long, in which case nothing has changed.

        Long texts get more time than short ones, but not in a `hurry`.
        """
        if self._threads is None:
            return False
        content = _Content.of(call)
        limit = HURRY_S if hurry else min(self._call_s + CHAR_S * content.chars(), max(self._call_s, MOST_S))
        search = _Search(self._patterns, time.monotonic() + limit)
        work = asyncio.get_running_loop().run_in_executor(self._threads, search.redacted, content)
        done, _ = await asyncio.wait((work,), timeout=limit)
        if not done:
            work.add_done_callback(_discard)
            self._count(1)
            return False
        fault = work.exception()
        if fault is not None:
            log.error("a call's content could not be redacted and is not recorded: %s", type(fault).__name__)
            return False
        self._count(search.dropped)
        work.result().write_to(call)
        return True

    def _count(self, dropped: int) -> None:
        self.dropped += dropped
        now = time.monotonic()
        if dropped and now - self._warned_at >= QUIET_S:
            self._warned_at = now
            log.warning("%d texts were dropped from records: PROXY_REDACT took too long", self.dropped)


@dataclass(frozen=True, slots=True)
class _Content:
    """All content of a call; the first three fields are JSON."""

    prompt: str | bytearray | None
    instructions: str | bytearray | None
    members: str | None
    stops: Sequence[str]
    choices: Sequence[Choice]
    error_message: str | None

    @classmethod
    def of(cls, call: Call) -> "_Content":
        stops = call.request.parameters.get(a.REQUEST_STOP_SEQUENCES)
        return cls(
            call.request.prompt,
            call.request.instructions,
            call.members,
            stops if isinstance(stops, tuple) else (),
            call.answer.choices,
            call.error_message,
        )

    def chars(self) -> int:
        """How many characters there are to search."""
        texts = [self.prompt or "", self.instructions or "", self.members or "", self.error_message or ""]
        texts += [text for choice in self.choices for text in (choice.content, choice.refusal, choice.reasoning)]
        texts += [call.arguments for choice in self.choices for call in choice.tool_calls]
        return sum(map(len, texts))

    def write_to(self, call: Call) -> None:
        parameters = dict(call.request.parameters)
        if self.stops:
            parameters[a.REQUEST_STOP_SEQUENCES] = tuple(self.stops)
        call.request = replace(call.request, prompt=self.prompt, instructions=self.instructions, parameters=parameters)
        # one that could not be searched is left out: in the record it is an object
        call.members = self.members if self.members and self.members.startswith("{") else None
        call.answer.choices = list(self.choices)
        call.error_message = self.error_message


class _Search:
    """Searches the content of one call; runs in a thread."""

    def __init__(self, patterns: "Sequence[Pattern[str]]", until: float) -> None:
        """`until` is the deadline by `time.monotonic`."""
        self._patterns = patterns
        self._until = until
        self.dropped = 0

    def redacted(self, content: _Content) -> _Content:
        """The same content, redacted."""
        return _Content(
            self._json(content.prompt),
            self._json(content.instructions),
            self._json(content.members),
            [self._text(stop) for stop in content.stops],
            [self._choice(choice) for choice in content.choices],
            None if content.error_message is None else self._text(content.error_message),
        )

    def _choice(self, choice: Choice) -> Choice:
        return replace(
            choice,
            content=self._text(choice.content),
            refusal=self._text(choice.refusal),
            reasoning=self._text(choice.reasoning),
            tool_calls=[
                ToolCall(call.id, self._text(call.name), self._text(call.arguments)) for call in choice.tool_calls
            ],
        )

    def _json(self, text: str | bytearray | None) -> str | None:
        if text is None:
            return None
        try:
            if is_dense(text):
                raise ValueError("too many values")
            return dump(self._value(load(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)))
        except (ValueError, RecursionError):  # too many, or nested too deeply
            self.dropped += 1
            return dump(DROPPED)

    def _value(self, value: object) -> object:
        match value:
            case str():
                return self._text(value)
            case list():
                return [self._value(entry) for entry in value]
            case dict():
                return {self._text(name): self._value(entry) for name, entry in value.items()}
        return value

    def _text(self, text: str) -> str:
        if not text:
            return text
        for pattern in self._patterns:
            limit = min(TEXT_S + CHAR_S * len(text), self._until - time.monotonic())
            try:
                if limit <= 0:
                    raise TimeoutError
                text = pattern.sub(REDACTED, text, concurrent=True, timeout=limit)
            except TimeoutError:
                self.dropped += 1
                return DROPPED
        return text


def _compiled(patterns: Iterable[str]) -> "list[Pattern[str]]":
    if not patterns:
        return []
    import regex

    return [regex.compile(pattern) for pattern in patterns]


def _discard(work: "asyncio.Future[_Content]") -> None:
    """Retrieve a late exception, so that asyncio does not log it as never retrieved."""
    if not work.cancelled():
        work.exception()
