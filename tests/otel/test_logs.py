"""Logs: lines of JSON with their trace, without content, and at a limited rate."""

import asyncio
import contextlib
import gc
import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from otel.logs import BURST, PERIOD_S, Discreet, Json, Lines
from otel.provider import make_provider
from otel.sampling import make_sampler
from tests.kit.hub import wait_until
from tests.kit.ingestion import Ingestion
from tests.kit.proxy import ProxyProcess
from tests.kit.wire import CHAT, client
from tests.otel.conftest import StartMonitored, question, traceparent


class Kept(logging.Handler):
    """Keeps the records and lines that a handler would write."""

    def __init__(self, discreet: Discreet) -> None:
        super().__init__()
        self.setFormatter(Json())
        self.addFilter(discreet)
        self.records: list[logging.LogRecord] = []
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.lines.append(json.loads(self.format(record)))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kept(clock: Clock) -> Iterator[Kept]:
    """A handler on a test logger and on asyncio's."""
    handler = Kept(Discreet(clock))
    loggers = [logging.getLogger(name) for name in ("some.logger", "asyncio")]
    for logger in loggers:
        logger.addHandler(handler)
    yield handler
    for logger in loggers:
        logger.removeHandler(handler)


log = logging.getLogger("some.logger")


def test_a_line_is_json_with_its_trace(kept: Kept) -> None:
    """Time, level, logger and message are fields; within a span its ids are too."""
    tracer = make_provider([], make_sampler(1.0)).get_tracer("test")
    with tracer.start_as_current_span("request") as span:
        log.warning("a %s happened", "thing")
    (line,) = kept.lines
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "WARNING",
        "logger": "some.logger",
        "message": "a thing happened",
        "trace_id": f"{span.get_span_context().trace_id:032x}",
        "span_id": f"{span.get_span_context().span_id:016x}",
    }


def test_an_exception_is_logged_by_type_and_stack(kept: Kept) -> None:
    """An exception's text may quote a caller: only its type, its cause's type and the stack are logged."""
    try:
        try:
            int("the prompt")
        except ValueError as cause:
            raise KeyError("the answer") from cause
    except KeyError:
        log.exception("a call failed")
    (line,) = kept.lines
    assert line["exception"] == "KeyError from ValueError"
    assert __file__ in line["stack"]
    (record,) = kept.records
    logged = logging.Formatter().format(record) + json.dumps(line) + str(record.__dict__)
    assert "the prompt" not in logged
    assert "the answer" not in logged


def test_asyncios_warnings_contain_no_exception_text(kept: Kept) -> None:
    """A failed task that nobody awaited is logged, at a limited rate and without its exception's text."""

    async def failing() -> None:
        raise ValueError("the prompt")

    async def forget_tasks() -> None:
        for _ in range(20):
            await asyncio.wait([asyncio.ensure_future(failing())])
        gc.collect()

    asyncio.run(forget_tasks())
    assert {line["message"] for line in kept.lines} == {"Task exception was never retrieved"}
    assert len(kept.lines) == BURST
    assert kept.lines[0]["exception"] == "ValueError"
    assert "the prompt" not in json.dumps(kept.lines) + "".join(str(record.__dict__) for record in kept.records)


@pytest.mark.parametrize("where", ["full", "closed"])
def test_a_failing_standard_error_hurts_nobody(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With standard error on a full disk, or closed, logging raises nothing, and works again when standard error
    does."""
    record = logging.makeLogRecord({"name": "some.logger", "msg": "it fails", "levelno": logging.ERROR})
    nowhere, somewhere, lines = open("/dev/full", "w"), io.StringIO(), Lines()  # noqa: SIM115  closing it fails too
    if where == "closed":
        nowhere.close()
    monkeypatch.setattr(sys, "stderr", nowhere)
    assert lines.handle(record)
    monkeypatch.setattr(sys, "stderr", somewhere)
    assert lines.handle(record)
    monkeypatch.undo()
    with contextlib.suppress(OSError):
        nowhere.close()
    assert json.loads(somewhere.getvalue())["message"] == "it fails"


def test_repeated_messages_are_limited(kept: Kept, clock: Clock) -> None:
    """The same message is logged ten times a minute, other messages still are, and the next one says how many were
    not."""
    for number in range(100):
        log.error("it fails again: %d", number)
    log.error("something else")
    assert len(kept.lines) == BURST + 1
    clock.now = PERIOD_S + 1
    log.error("it fails again: %d", 100)
    assert kept.lines[-1]["message"] == "it fails again: 100 (90 more like this in the last minutes)"


@pytest.fixture(scope="module")
def proxy(monitored: StartMonitored, ingestion: Ingestion) -> ProxyProcess:
    return monitored(APPLICATIONINSIGHTS_CONNECTION_STRING=ingestion.conn_str)


def test_a_process_logs_json_and_no_access_log(proxy: ProxyProcess) -> None:
    """Under plain uvicorn every line is JSON, the server's too, and requests are not logged: they have spans."""
    with client(proxy.url) as caller:
        caller.send("POST", CHAT + "&code=SECRET", question()).read()
        caller.send("GET", "/health/live").read()
    lines = [json.loads(line) for line in proxy.output]
    assert any("Uvicorn running on" in line["message"] for line in lines)
    assert not any("/openai/" in line["message"] or "/health/" in line["message"] for line in lines)
    assert "SECRET" not in "".join(proxy.output)


def test_uvicorn_formats_no_access_lines() -> None:
    """It would do so for each request, even if nobody reads them, unless its logger has no handlers."""
    code = """
import logging, uvicorn
from otel import logs
uvicorn.Config("app.main:create_app", factory=True)
access = logging.getLogger("uvicorn.access")
before = access.hasHandlers()
logs.set_up()
print(before, access.hasHandlers())
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "True False\n"


def test_warnings_and_exceptions_reach_application_insights(monitored: StartMonitored, ingestion: Ingestion) -> None:
    """A warning is a trace message, an exception has its type and stack, both in their request's trace. Even an
    uncaught exception is reported without its text, in the log, in Application Insights and on the request's span."""
    proxy = monitored(app="tests.otel.faulty:create_app", APPLICATIONINSIGHTS_CONNECTION_STRING=ingestion.conn_str)
    trace_id = f"{0xF00:032x}"
    with client(proxy.url) as caller:
        answer = caller.send("POST", CHAT, question(), **traceparent(0xF00))
        assert (answer.status, answer.read()) == (500, b"Internal Server Error")
    found = ingestion.trace(trace_id)
    (request,) = [envelope for envelope in found if envelope.kind == "RequestData"]
    assert (request.base["responseCode"], request.base["success"]) == ("500", False)

    def faults() -> dict[str, str]:
        exceptions = [envelope.base["exceptions"][0] for envelope in ingestion.envelopes("ExceptionData")]
        return {fault["typeName"]: fault["stack"] for fault in exceptions if fault["hasFullStack"]}

    ingestion.wait_for(lambda: len(faults()) == 2)
    assert set(faults()) == {"ValueError", "RuntimeError"}
    assert all("faulty.py" in stack for stack in faults().values())
    ingestion.wait_for(lambda: ingestion.of_trace(trace_id, "MessageData"))
    (warning,) = ingestion.of_trace(trace_id, "MessageData")
    assert warning.base["message"] == "about to fail"
    assert warning.parent_id == request.base["id"]
    wait_until(lambda: any("Exception in ASGI application" in line for line in proxy.output))
    lines = [json.loads(line) for line in proxy.output]
    assert {line["exception"] for line in lines if "exception" in line} == {"ValueError", "RuntimeError"}
    assert {line.get("trace_id") for line in lines if line["message"] == "it failed"} == {trace_id}
    for logged in ("".join(proxy.output), ingestion.everything()):
        assert "the prompt" not in logged
        assert "the answer" not in logged
