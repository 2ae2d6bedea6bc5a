"""Application Insights fails in every way it can: calls are unaffected, memory is bounded, and shutdown is in time."""

import contextlib
import signal
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel.outbox import QUEUE, Outbox
from otel.provider import make_provider
from otel.sampling import make_sampler
from otel.scrub import Scrub
from tests.kit.hub import HubReader, wait_until
from tests.kit.ingestion import KEY, Ingestion
from tests.kit.proxy import ProxyProcess
from tests.otel.conftest import ANSWER_MARK, PROMPT_MARK, StartMonitored, storage, stream_calls, waiting

SHUTDOWN_SECONDS = 3


def start(monitored: StartMonitored, ingestion: Ingestion) -> ProxyProcess:
    return monitored(
        APPLICATIONINSIGHTS_CONNECTION_STRING=ingestion.conn_str,
        PROXY_TRACE_RATIO="1",
        PROXY_SHUTDOWN_SECONDS=str(SHUTDOWN_SECONDS),
        OTEL_METRIC_EXPORT_INTERVAL="60000",
    )


@pytest.fixture(scope="module")
def proxy(monitored: StartMonitored, ingestion: Ingestion) -> ProxyProcess:
    """For all tests that do not end it."""
    return start(monitored, ingestion)


@pytest.fixture(autouse=True)
def healthy(ingestion: Ingestion) -> Iterator[None]:
    yield
    ingestion.status = 200


def arrives(ingestion: Ingestion, trace_id: str) -> None:
    """Wait until the trace was posted, whatever the response."""
    ingestion.wait_for(lambda: any(trace_id.encode() in body for body in ingestion.bodies))


@pytest.mark.parametrize("status", [206, 413, 429, 500])
def test_a_rejected_export_affects_no_call(
    proxy: ProxyProcess, ingestion: Ingestion, hub: HubReader, status: int
) -> None:
    """Whatever ingestion responds, even if it asks to wait for half a minute, calls work, records are delivered, and
    the next batch is sent immediately; the log says what is lost for good."""
    ingestion.status = status
    first, *_ = stream_calls(proxy.url, 5)
    arrives(ingestion, first)
    ingestion.status = 200
    (last,) = stream_calls(proxy.url, 1)
    ingestion.trace(last)
    assert ANSWER_MARK in hub.record(first)["content"]
    if status == 413:  # a permanent rejection: nothing is stored
        wait_until(lambda: any("Non-retryable server side error" in line for line in proxy.output))


def test_a_failed_export_waits_on_disk(proxy: Any, ingestion: Ingestion) -> None:
    """After a 500 a trace waits in a file of mode 0600, without content, and is sent once ingestion accepts again."""
    ingestion.status = 500
    (trace_id,) = stream_calls(proxy.url, 1)
    wait_until(lambda: trace_id in waiting(proxy))
    for path in storage(proxy).iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was just renamed
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert PROMPT_MARK not in waiting(proxy)
    assert ANSWER_MARK not in waiting(proxy)
    ingestion.status = 200
    for path in storage(proxy).glob("*.lock"):  # leased for a minute: end the lease
        with contextlib.suppress(FileNotFoundError):  # it was just sent
            path.rename(path.with_name(path.name.partition("@")[0]))
    stream_calls(proxy.url, 1)
    ingestion.trace(trace_id)


def test_exporter_warnings_contain_no_telemetry(proxy: ProxyProcess, ingestion: Ingestion) -> None:
    """The exporter's warnings are logged without the envelopes they are about."""
    ingestion.status = 206
    for _ in range(3):
        (trace_id,) = stream_calls(proxy.url, 1)
        arrives(ingestion, trace_id)
    wait_until(lambda: any("Data drop" in line for line in proxy.output))
    log = "".join(proxy.output)
    assert "baseData" not in log
    assert PROMPT_MARK not in log


def test_shutdown_is_in_time(monitored: StartMonitored, ingestion: Ingestion, hub: HubReader) -> None:
    """With an ingestion endpoint that never responds, calls work, and SIGTERM ends the process within its time
    limit."""
    proxy: Any = start(monitored, ingestion)
    ingestion.status = None
    traces = stream_calls(proxy.url, 20)
    arrives(ingestion, traces[0])
    traces += stream_calls(proxy.url, 20)
    proxy.signal(signal.SIGTERM)
    proxy.wait_in_time(SHUTDOWN_SECONDS)
    assert not any("ends now" in line for line in proxy.output)
    assert any("spans not sent" in line for line in proxy.output)
    monitored(PROXY_SPOOL_DIR=str(proxy.spool))  # the next process sends what a busy machine left no time for
    for trace_id in traces:
        assert ANSWER_MARK in hub.record(trace_id)["content"]


def test_shutdown_flushes_spans_and_metrics(monitored: StartMonitored, ingestion: Ingestion) -> None:
    """Shutdown sends the queued spans and the last metrics, however far away the next export is."""
    proxy = monitored(
        APPLICATIONINSIGHTS_CONNECTION_STRING=ingestion.conn_str,
        OTEL_BSP_SCHEDULE_DELAY="600000",
        OTEL_BLRP_SCHEDULE_DELAY="600000",
        OTEL_METRIC_EXPORT_INTERVAL="600000",
    )
    before = len(ingestion.accepted)
    (trace_id,) = stream_calls(proxy.url, 1)
    assert not ingestion.of_trace(trace_id)
    proxy.signal(signal.SIGTERM)
    proxy.wait(60)
    ingestion.trace(trace_id)
    after = {envelope.metric for envelope in ingestion.accepted[before:]}
    assert {"gen_ai.client.operation.duration", "proxy.records.sent"} <= after


def test_an_unreachable_endpoint_affects_no_call(monitored: StartMonitored, dead_port: int) -> None:
    """With nobody at the ingestion endpoint the proxy starts, works, stores traces on disk and exits."""
    nobody = f"InstrumentationKey={KEY};IngestionEndpoint=http://127.0.0.1:{dead_port}"
    proxy: Any = monitored(
        APPLICATIONINSIGHTS_CONNECTION_STRING=nobody, PROXY_TRACE_RATIO="1", PROXY_SHUTDOWN_SECONDS="60"
    )
    traces = stream_calls(proxy.url, 5)
    wait_until(lambda: all(trace_id in waiting(proxy) for trace_id in traces))
    proxy.signal(signal.SIGTERM)
    assert proxy.wait_in_time(8) == -signal.SIGTERM  # it has 60 s and needs none of them
    assert [trace_id for trace_id in traces if trace_id not in waiting(proxy)] == []


class Stuck(SpanExporter):
    """Blocks in an export until `go` is set."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.exported = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.go.wait()
        self.exported += len(spans)
        return SpanExportResult.SUCCESS


def test_a_stuck_exporter_bounds_memory() -> None:
    """An outbox whose exporter is stuck holds at most `QUEUE` spans, none with a prompt; each dropped span is counted,
    and the rest is sent when the exporter works again."""
    lost: dict[str, int] = {}

    def lose(reason: str, spans: int) -> None:
        lost[reason] = lost.get(reason, 0) + spans

    held: list[ReadableSpan] = []

    def scrub(span: ReadableSpan) -> ReadableSpan:
        held.append(Scrub()(span))
        return held[-1]

    outbox, exporter = Outbox(scrub, lose), Stuck()
    outbox.add(exporter)
    provider = make_provider([outbox], make_sampler(1.0))
    tracer = provider.get_tracer("azure_openai_proxy")
    for _ in range(3000):
        tracer.start_span("chat", attributes={"proxy.prompt": "x" * 1000, "gen_ai.request.model": "m" * 5000}).end()
    assert 3000 - QUEUE - 64 <= lost["queue_full"] <= 3000 - QUEUE
    assert all(len(str(dict(span.attributes or {}))) < 1500 for span in held)
    exporter.go.set()
    outbox.begin_stop()
    outbox.end_stop(60)
    assert exporter.exported + lost["queue_full"] == 3000
    assert set(lost) == {"queue_full"}


def test_a_stuck_exporter_does_not_delay_shutdown() -> None:
    """An outbox stops within its time limit though an export hangs, and counts what was not sent."""
    lost: dict[str, int] = {}
    outbox, exporter = Outbox(Scrub(), lambda reason, spans: lost.update({reason: spans})), Stuck()
    outbox.add(exporter)
    tracer = make_provider([outbox], make_sampler(1.0)).get_tracer("test")
    for _ in range(100):
        tracer.start_span("x").end()
    begun = time.monotonic()
    outbox.begin_stop()
    outbox.end_stop(0.2)
    assert time.monotonic() - begun < 30  # the export hangs forever
    assert lost["shut_down"] in (100, 100 - 64)
    exporter.go.set()
