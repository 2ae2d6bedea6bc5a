"""Logs of the process: one JSON object a line, with the trace they belong to; no content, no secrets, no floods.

An exception's message may quote what a caller wrote, so of an exception only its type and the places in the code are
told. What the proxy itself logs holds neither, and neither do libraries' warnings, but for the envelopes that Azure's
exporter repeats when ingestion refuses them, and for the tasks that asyncio names with their exceptions.
"""

import contextlib
import copy
import json
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from opentelemetry.trace import format_span_id, format_trace_id, get_current_span

BURST: Final = 10
PERIOD_S: Final = 60.0
MESSAGES: Final = 1000
MESSAGE_LENGTH: Final = 2048

EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_STACK: Final = "exception.stacktrace"

# The servers' loggers pass nothing on to the root.
_SPEAKING: Final = ("", "uvicorn")
# Sent to where they complain of not reaching, they would breed.
_NOT_SENT: Final = ("azure", "opentelemetry", "urllib3")
_EXPORTER: Final = "azure.monitor.opentelemetry.exporter"


def set_up() -> None:
    """Make the process's log what this module says; for a process that is the proxy and nothing else.

    Handlers that are there are kept, and made discreet: a Functions worker has one that hands everything to the host.
    """
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(Lines())
    for name in _SPEAKING:
        for handler in logging.getLogger(name).handlers:
            _make_discreet(handler)
            if type(handler.formatter).__module__ == "uvicorn.logging" and not sys.stderr.isatty():
                handler.setFormatter(Json())
    # The span of a request says more than its line, and the line would name the query.
    access = logging.getLogger("uvicorn.access")
    access.handlers, access.propagate = [], False  # so that uvicorn does not even put it together
    access.addFilter(_nothing)


def send(handler: logging.Handler) -> None:
    """Have warnings and errors go to `handler` too, made as discreet as the rest."""
    handler.setLevel(logging.WARNING)
    handler.addFilter(lambda record: not record.name.startswith(_NOT_SENT))
    _make_discreet(handler)
    for name in _SPEAKING:
        logging.getLogger(name).addHandler(handler)


def stop_sending(handler: logging.Handler) -> None:
    """Undo `send`."""
    for name in _SPEAKING:
        logging.getLogger(name).removeHandler(handler)


class Lines(logging.Handler):
    """Writes to standard error, whatever that is at the time."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(Json())

    def emit(self, record: logging.LogRecord) -> None:
        # one that is full, closed or gone must hurt neither a call nor the sender; and there is nowhere to say it
        with contextlib.suppress(Exception):
            print(self.format(record), file=sys.stderr, flush=True)


class Json(logging.Formatter):
    """time, level, logger, message; trace_id and span_id within a request; exception and stack after a fault."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage()[:MESSAGE_LENGTH],
        }
        context = get_current_span().get_span_context()
        if context.is_valid:
            line["trace_id"] = format_trace_id(context.trace_id)
            line["span_id"] = format_span_id(context.span_id)
        for field, name in (("exception", EXCEPTION_TYPE), ("stack", EXCEPTION_STACK)):
            if value := record.__dict__.get(name):
                line[field] = value
        return json.dumps(line)


class Discreet(logging.Filter):
    """Passes a record on without an exception's text or an envelope, and the same message ten times a minute.

    The first to pass again tells how many did not.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._guard = threading.Lock()
        self._said: dict[tuple[str, str], list[float]] = {}
        """By logger and message: when the period began, and how many came in it."""

    def filter(self, record: logging.LogRecord) -> bool | logging.LogRecord:
        by_asyncio = record.name == "asyncio"
        # what follows the first line of its messages is a task or a future, with the text of its exception
        held_back = self._count((record.name, _first_line(str(record.msg)) if by_asyncio else str(record.msg)))
        if held_back is None:
            return False
        if not held_back and not record.exc_info and not by_asyncio and not record.name.startswith(_EXPORTER):
            return True
        shown = copy.copy(record)
        if by_asyncio:
            shown.msg, shown.args = _first_line(shown.getMessage()), ()
        if shown.exc_info:
            _describe(shown)
        if shown.name.startswith(_EXPORTER):
            shown.args = _without_envelopes(shown.args)
        if held_back:
            shown.msg, shown.args = f"{shown.getMessage()} ({held_back} more like this in the last minutes)", ()
        return shown

    def _count(self, key: tuple[str, str]) -> int | None:
        """How many of these were held back since the last that passed; None if this one is too."""
        now = self._clock()
        with self._guard:
            said = self._said.get(key)
            if said is None:
                if len(self._said) >= MESSAGES:  # a message made anew each time would fill the memory
                    self._said.clear()
                said = self._said[key] = [now, 0]
            began, count = said
            if now - began >= PERIOD_S:
                said[:] = [now, 1]
                return max(0, int(count) - BURST)
            said[1] = count + 1
            return 0 if count < BURST else None


def _make_discreet(handler: logging.Handler) -> None:
    if not any(isinstance(each, Discreet) for each in handler.filters):
        handler.addFilter(Discreet())


def _describe(record: logging.LogRecord) -> None:
    """Replace the exception by its type and the places it passed through."""
    kind, fault, trace = record.exc_info or (None, None, None)
    record.exc_info = None
    if kind is None:
        return
    places = [f"{at.filename}:{at.lineno} in {at.name}" for at in traceback.extract_tb(trace)]
    types = [kind.__name__]
    while fault is not None and (fault := fault.__cause__ or fault.__context__) is not None and len(types) < 10:
        types.append(type(fault).__name__)
    record.__dict__[EXCEPTION_TYPE] = " from ".join(types)
    record.__dict__[EXCEPTION_STACK] = "\n".join(places)
    record.exc_text = f"{' from '.join(types)}\n" + "\n".join(places)


def _without_envelopes(args: object) -> tuple[object, ...]:
    """Arguments for a message, with only the type of what is no plain value."""
    given = args if isinstance(args, tuple) else (args,) if args else ()
    plain = str | int | float | None
    return tuple(each if isinstance(each, plain) else type(each).__name__ for each in given)


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def _nothing(record: logging.LogRecord) -> bool:
    return False
