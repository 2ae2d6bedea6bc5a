"""What the journal costs per call: CPU time of the serving thread, with a prompt of 1 KB, on this disk.

    python -m tests.chaos.journal

Measures building the record for an interrupted call, writing it, and deleting it when the call ends.
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
OPEN: Final = 50  # concurrent calls
PROMPT: Final = '[{"role":"user","content":"%s"}]' % ("Tell me about reliability. " * 38)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="journal-") as directory:
        parts = measured(Path(directory))
    for name, cost in parts.items():
        print(f"{name:24} {cost:6.1f} µs")
    return 0


def measured(directory: Path) -> dict[str, float]:
    """Microseconds per call, as the median of ROUNDS."""
    span = started()
    journal = Journal(OwnDirectory(directory / "spool"))
    line = Record.interrupted(span).to_json()
    names = [str(number) for number in range(OPEN)]

    def build() -> None:
        for _ in names:
            Record.interrupted(span).to_json()

    def write_and_delete() -> None:
        for name in names:
            journal.begin(name, line)
        for name in names:
            journal.end(name)

    parts = {"built": cost(build), "written and deleted": cost(write_and_delete)}
    journal.close()
    return {**parts, "total": sum(parts.values())}


class _Started(SpanProcessor):
    def on_start(self, span: Span, parent_context: object = None) -> None:
        self.span = span


def started() -> Span:
    """The span of a call, as the journal sees it."""
    processor = _Started()
    tracer = make_provider([processor], ALWAYS_OFF).get_tracer(SCOPE)
    caller = {"user_id": "user-1", "product": "product-1"}
    CallSpan(tracer, Call("chat", deployment="gpt-4o", request=Request("gpt-4o", True, PROMPT), caller=caller))
    return processor.span


def cost(what: Callable[[], None]) -> float:
    """Microseconds of CPU time per call; `what` handles OPEN calls."""
    found = []
    for _ in range(ROUNDS):
        began = time.thread_time_ns()
        for _ in range(CALLS // OPEN):
            what()
        found.append((time.thread_time_ns() - began) / CALLS / 1000)
    return statistics.median(found)


if __name__ == "__main__":
    sys.exit(main())
