"""Logs of the process: one JSON object per line, with the trace it belongs to; no content, no secrets, no floods.

An exception's message may quote what a caller wrote, so only the exception's type and stack are logged. The proxy's own
messages hold no content and no secrets, and neither do libraries' warnings, with two exceptions: Azure's exporter logs
envelopes that ingestion rejects, and asyncio logs tasks with the text of their exceptions.
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

# uvicorn's loggers do not propagate to the root.
_LOGGERS: Final = ("", "uvicorn")
# Their warnings are about failed exports: exporting those would produce more of them.
_NOT_SENT: Final = ("azure", "opentelemetry", "urllib3")
_EXPORTER: Final = "azure.monitor.opentelemetry.exporter"


def set_up() -> None:
    """Set up the process's logging; for a process that runs nothing but the proxy.

    Existing handlers are kept and get the `Discreet` filter: a Functions worker's sends everything to the host.
    """
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(Lines())
    for name in _LOGGERS:
        for handler in logging.getLogger(name).handlers:
            _make_discreet(handler)
            if type(handler.formatter).__module__ == "uvicorn.logging" and not sys.stderr.isatty():
                handler.setFormatter(Json())
    # The request's span says more than an access log line, and the line would show the query string.
    access = logging.getLogger("uvicorn.access")
    access.handlers, access.propagate = [], False  # so that uvicorn does not even format it
    access.addFilter(_nothing)


def send(handler: logging.Handler) -> None:
    """Send warnings and errors to `handler` too, through the same filter as the rest."""
    handler.setLevel(logging.WARNING)
    handler.addFilter(lambda record: not record.name.startswith(_NOT_SENT))
    _make_discreet(handler)
    for name in _LOGGERS:
        logging.getLogger(name).addHandler(handler)


def stop_sending(handler: logging.Handler) -> None:
    """Undo `send`."""
    for name in _LOGGERS:
        logging.getLogger(name).removeHandler(handler)


class Lines(logging.Handler):
    """Writes to whatever `sys.stderr` is at the time."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(Json())

    def emit(self, record: logging.LogRecord) -> None:
        # a full, closed or missing stderr must hurt neither a call nor the sender, and there is nowhere to report it
        with contextlib.suppress(Exception):
            print(self.format(record), file=sys.stderr, flush=True)


class Json(logging.Formatter):
    """Fields: time, level, logger, message; trace_id and span_id within a request; exception and stack if any."""

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
    """Removes exceptions' texts and envelopes, and passes the same message ten times a minute.

    The first one of the next period says how many were suppressed.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._guard = threading.Lock()
        self._periods: dict[tuple[str, str], list[float]] = {}
        """By logger and message: when the period began, and how many messages came in it."""

    def filter(self, record: logging.LogRecord) -> bool | logging.LogRecord:
        by_asyncio = record.name == "asyncio"
        # after the first line of its messages comes a task or a future, with the text of its exception
        suppressed = self._count((record.name, _first_line(str(record.msg)) if by_asyncio else str(record.msg)))
        if suppressed is None:
            return False
        if not suppressed and not record.exc_info and not by_asyncio and not record.name.startswith(_EXPORTER):
            return True
        shown = copy.copy(record)
        if by_asyncio:
            shown.msg, shown.args = _first_line(shown.getMessage()), ()
        if shown.exc_info:
            _describe(shown)
        if shown.name.startswith(_EXPORTER):
            shown.args = _without_envelopes(shown.args)
        if suppressed:
            shown.msg, shown.args = f"{shown.getMessage()} ({suppressed} more like this in the last minutes)", ()
        return shown

    def _count(self, key: tuple[str, str]) -> int | None:
        """How many of these were suppressed since the last one that passed; None if this one is suppressed too."""
        now = self._clock()
        with self._guard:
            period = self._periods.get(key)
            if period is None:
                if len(self._periods) >= MESSAGES:  # messages that are all different would fill the memory
                    self._periods.clear()
                period = self._periods[key] = [now, 0]
            began, count = period
            if now - began >= PERIOD_S:
                period[:] = [now, 1]
                return max(0, int(count) - BURST)
            period[1] = count + 1
            return 0 if count < BURST else None


def _make_discreet(handler: logging.Handler) -> None:
    if not any(isinstance(each, Discreet) for each in handler.filters):
        handler.addFilter(Discreet())


def _describe(record: logging.LogRecord) -> None:
    """Replace the exception by its type and its stack."""
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
    """A message's arguments; of those that are not plain values only the type."""
    given = args if isinstance(args, tuple) else (args,) if args else ()
    plain = str | int | float | None
    return tuple(each if isinstance(each, plain) else type(each).__name__ for each in given)


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def _nothing(record: logging.LogRecord) -> bool:
    return False
