"""Redactor: takes what PROXY_REDACT's patterns match out of everything that was said, before any of it is written down.

What it promises:
  1. Text that could not be searched to its end within its time is dropped and marked, never let through.
  2. What was JSON stays JSON: the patterns see its strings (members' names too), as they read without escapes.
  3. It ends within its time whatever the patterns and the texts are, and holds up neither the loop nor a byte of the
     answer: a thread does the work when the last one was sent, and searching lets go of the interpreter's lock. What
     waits for it, since the record comes before the call's end, is the mark that ends a body without a length.
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

if TYPE_CHECKING:
    from regex import Pattern

log = logging.getLogger(__name__)

REDACTED: Final = "[redacted]"
DROPPED: Final = "[dropped: redaction took too long]"
CALL_S: Final = 1.0
HURRY_S: Final = 0.35
"""For all texts of one call; in a hurry at a shutdown, which does not wait for long."""
TEXT_S: Final = 0.05
"""For one pattern on one text, in processor time of all threads, as `regex` counts it."""
LETTER_S: Final = 1e-6
"""Either has as much more for each letter: ordinary patterns take 0.01 to 0.35 of that, pathological ones far more."""
MOST_S: Final = 5.0
QUIET_S: Final = 60.0


class Redactor:
    """Shared by all calls; without patterns it has nothing to do."""

    def __init__(self, patterns: Sequence[str], call_s: float = CALL_S) -> None:
        """`patterns` have been found to be regular expressions; a call may take `call_s` seconds."""
        self._patterns = _compiled(patterns)
        self._call_s = call_s
        self._threads = ThreadPoolExecutor(2, "redact") if patterns else None
        self._said_at = -QUIET_S
        self.dropped = 0
        """Texts dropped since they could not be searched in time."""

    def applies(self, call: Call) -> bool:
        """Whether what was said in this call may be written down only once it was redacted."""
        return self._threads is not None and call.capture_content

    async def redact(self, call: Call, hurry: bool = False) -> bool:
        """Redact all that was said in the call; False if that failed or took too long, and nothing has changed.

        Long texts have more time than short ones, but not in a `hurry`.
        """
        if self._threads is None:
            return False
        said = _Said.of(call)
        limit = HURRY_S if hurry else min(self._call_s + LETTER_S * said.letters(), max(self._call_s, MOST_S))
        search = _Search(self._patterns, time.monotonic() + limit)
        work = asyncio.get_running_loop().run_in_executor(self._threads, search.said, said)
        done, _ = await asyncio.wait((work,), timeout=limit)
        if not done:
            work.add_done_callback(_forget)
            self._count(1)
            return False
        fault = work.exception()
        if fault is not None:
            log.error("what was said in a call could not be redacted and is not recorded: %s", type(fault).__name__)
            return False
        self._count(search.dropped)
        work.result().put_into(call)
        return True

    def _count(self, dropped: int) -> None:
        self.dropped += dropped
        now = time.monotonic()
        if dropped and now - self._said_at >= QUIET_S:
            self._said_at = now
            log.warning("%d texts were dropped from records, since PROXY_REDACT took too long on them", self.dropped)


@dataclass(frozen=True, slots=True)
class _Said:
    """All that was said in a call; the first two are JSON."""

    prompt: str | None
    instructions: str | None
    stops: Sequence[str]
    choices: Sequence[Choice]
    error_message: str | None

    @classmethod
    def of(cls, call: Call) -> "_Said":
        stops = call.request.parameters.get(a.REQUEST_STOP_SEQUENCES)
        return cls(
            call.request.prompt,
            call.request.instructions,
            stops if isinstance(stops, tuple) else (),
            call.answer.choices,
            call.error_message,
        )

    def letters(self) -> int:
        """How much there is to search."""
        texts = [self.prompt or "", self.instructions or "", self.error_message or ""]
        texts += [text for choice in self.choices for text in (choice.content, choice.refusal, choice.reasoning)]
        texts += [call.arguments for choice in self.choices for call in choice.tool_calls]
        return sum(map(len, texts))

    def put_into(self, call: Call) -> None:
        parameters = dict(call.request.parameters)
        if self.stops:
            parameters[a.REQUEST_STOP_SEQUENCES] = tuple(self.stops)
        call.request = replace(call.request, prompt=self.prompt, instructions=self.instructions, parameters=parameters)
        call.answer.choices = list(self.choices)
        call.error_message = self.error_message


class _Search:
    """The search through what was said in one call, in a thread."""

    def __init__(self, patterns: "Sequence[Pattern[str]]", until: float) -> None:
        """`until` is the end of its time, as `time.monotonic` counts."""
        self._patterns = patterns
        self._until = until
        self.dropped = 0

    def said(self, said: _Said) -> _Said:
        """The same, redacted."""
        return _Said(
            self._json(said.prompt),
            self._json(said.instructions),
            [self._text(stop) for stop in said.stops],
            [self._choice(choice) for choice in said.choices],
            None if said.error_message is None else self._text(said.error_message),
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

    def _json(self, text: str | None) -> str | None:
        if text is None:
            return None
        try:
            return dump(self._value(load(text.encode("utf-8", "surrogatepass"))))
        except (ValueError, RecursionError):  # nested too deep to walk
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
            limit = min(TEXT_S + LETTER_S * len(text), self._until - time.monotonic())
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


def _forget(work: "asyncio.Future[_Said]") -> None:
    """Look at what came too late, so that a fault in it is not reported as lost."""
    if not work.cancelled():
        work.exception()
