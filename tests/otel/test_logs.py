"""Logs: lines of JSON with their trace, without what anyone said, and few of a kind."""

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
from tests.otel.conftest import StartMonitored, question


class Kept(logging.Handler):
    """Keeps what a handler would write."""

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
    """A handler on a logger of its own, on asyncio's and on that of Azure's exporter."""
    handler = Kept(Discreet(clock))
    names = ("some.logger", "asyncio", "azure.monitor.opentelemetry.exporter.export._base")
    loggers = [logging.getLogger(name) for name in names]
    for logger in loggers:
        logger.addHandler(handler)
    yield handler
    for logger in loggers:
        logger.removeHandler(handler)


log = logging.getLogger("some.logger")


def test_a_line_is_json_with_its_trace(kept: Kept) -> None:
    """Time, level, logger and message are fields, and within a span so are its ids."""
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


def test_an_exception_is_told_by_type_and_place(kept: Kept) -> None:
    """What an exception says may quote a caller: the log has its type, its cause's, and where it came from."""
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
    told = logging.Formatter().format(record) + json.dumps(line) + str(record.__dict__)
    assert "the prompt" not in told
    assert "the answer" not in told


def test_asyncios_complaints_hold_no_exceptions_text(kept: Kept) -> None:
    """A task that nobody waits for is told of, a flood of them dammed; what its exception says is not told."""

    async def failing() -> None:
        raise ValueError("the prompt")

    async def forgetting() -> None:
        for _ in range(20):
            task = asyncio.ensure_future(failing())
            await asyncio.wait([task])
            del task
            gc.collect()

    asyncio.run(forgetting())
    assert {line["message"] for line in kept.lines} == {"Task exception was never retrieved"}
    assert len(kept.lines) == BURST
    assert kept.lines[0]["exception"] == "ValueError"
    assert "the prompt" not in json.dumps(kept.lines) + "".join(str(record.__dict__) for record in kept.records)


@pytest.mark.parametrize("where", ["full", "closed"])
def test_a_log_that_takes_nothing_hurts_nobody(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard error on a full disk, or closed: whoever logs goes on, and is heard again when it takes something."""
    record = logging.makeLogRecord({"name": "some.logger", "msg": "it fails", "levelno": logging.ERROR})
    nowhere, somewhere, lines = open("/dev/full", "w"), io.StringIO(), Lines()  # noqa: SIM115  closing it fails, too
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


def test_a_flood_is_dammed(kept: Kept, clock: Clock) -> None:
    """The same message is told ten times a minute, another all the same, and then how many there were between."""
    for number in range(100):
        log.error("it fails again: %d", number)
    log.error("something else")
    assert len(kept.lines) == BURST + 1
    clock.now = PERIOD_S + 1
    log.error("it fails again: %d", 100)
    assert kept.lines[-1]["message"] == "it fails again: 100 (90 more like this in the last minutes)"


def test_the_exporters_complaints_hold_no_envelope(kept: Kept) -> None:
    """Azure's exporter logs what ingestion refuses, whole: of that only the type is told."""
    exporter = logging.getLogger("azure.monitor.opentelemetry.exporter.export._base")
    exporter.error("Data drop %s: %s %s.", 400, "no good", {"baseData": "the prompt"})
    assert kept.lines[0]["message"] == "Data drop 400: no good dict."


@pytest.fixture(scope="module")
def proxy(monitored: StartMonitored, ingestion: Ingestion) -> ProxyProcess:
    return monitored(APPLICATIONINSIGHTS_CONNECTION_STRING=ingestion.conn_str)


def test_a_process_writes_lines_of_json_and_no_access_log(proxy: ProxyProcess) -> None:
    """Under plain uvicorn every line is JSON, the server's own too, and a request leaves none: it has a span."""
    with client(proxy.url) as caller:
        caller.send("POST", CHAT + "&code=SECRET", question()).read()
        caller.send("GET", "/health/live").read()
    lines = [json.loads(line) for line in proxy.output]
    assert any("Uvicorn running on" in line["message"] for line in lines)
    assert not any("/openai/" in line["message"] or "/health/" in line["message"] for line in lines)
    assert "SECRET" not in "".join(proxy.output)


def test_uvicorn_puts_no_access_line_together() -> None:
    """It does so for each request, also where nobody would read it, unless its logger leads nowhere."""
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


def test_warnings_and_faults_reach_application_insights(monitored: StartMonitored, ingestion: Ingestion) -> None:
    """A warning is a trace message, a fault an exception with type and places, both in their request's trace; even
    what escapes every guard is told without its text, in the log, in Application Insights and on the request's span."""
    proxy = monitored(app="tests.otel.faulty:create_app", APPLICATIONINSIGHTS_CONNECTION_STRING=ingestion.conn_str)
    trace_id = f"{0xF00:032x}"
    with client(proxy.url) as caller:
        answer = caller.send("POST", CHAT, question(), traceparent=f"00-{trace_id}-b7ad6b7169203331-01")
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
    for told in ("".join(proxy.output), ingestion.everything()):
        assert "the prompt" not in told
        assert "the answer" not in told
