"""What the journal costs a call: CPU time of the thread that serves, with a prompt of 1 KB, on this disk.

    python -m tests.chaos.journal

Made and kept is the record that an interrupted call shall have; forgotten is what happens when it ends.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from opentelemetry.sdk.trace import Span, SpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from exporters.directory import OwnDirectory
from exporters.journal import Journal
from exporters.record import Record
from otel.attributes import SCOPE
from otel.call import Call, Request
from otel.provider import make_provider
from otel.span import CallSpan

CALLS: Final = 2000
ROUNDS: Final = 15
OPEN: Final = 50  # calls at a time
PROMPT: Final = '[{"role":"user","content":"%s"}]' % ("Tell me about reliability. " * 38)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="journal-") as directory:
        parts = measured(Path(directory))
    for name, cost in parts.items():
        print(f"{name:24} {cost:6.1f} µs")
    return 0


def measured(directory: Path) -> dict[str, float]:
    """Microseconds a call, the median of some rounds."""
    span = started()
    journal = Journal(OwnDirectory(directory / "spool"))
    line = Record.interrupted(span).to_json()
    names = [str(number) for number in range(OPEN)]

    def made() -> None:
        for _ in names:
            Record.interrupted(span).to_json()

    def kept_and_forgotten() -> None:
        for name in names:
            journal.begin(name, line)
        for name in names:
            journal.end(name)

    parts = {"made": cost(made), "kept and forgotten": cost(kept_and_forgotten)}
    journal.close()
    return {**parts, "in all": sum(parts.values())}


class _Started(SpanProcessor):
    def on_start(self, span: Span, parent_context: object = None) -> None:
        self.span = span


def started() -> Span:
    """The span of a call as the journal sees it."""
    processor = _Started()
    tracer = make_provider([processor], ALWAYS_OFF).get_tracer(SCOPE)
    caller = {"user_id": "user-1", "product": "product-1"}
    CallSpan(tracer, Call("chat", deployment="gpt-4o", request=Request("gpt-4o", True, PROMPT), caller=caller))
    return processor.span


def cost(what: Callable[[], None]) -> float:
    """Microseconds of CPU time for one of the calls that `what` makes fifty of."""
    found = []
    for _ in range(ROUNDS):
        began = time.thread_time_ns()
        for _ in range(CALLS // OPEN):
            what()
        found.append((time.thread_time_ns() - began) / CALLS / 1000)
    return statistics.median(found)


if __name__ == "__main__":
    sys.exit(main())
