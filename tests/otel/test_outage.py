"""A long outage of Application Insights: what waits is bounded, in memory and on disk, and calls go on."""

import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.trace import SpanKind

import otel.azure_monitor
from otel.azure_monitor import AzureMonitor
from otel.outbox import QUEUE, Outbox
from otel.provider import make_provider
from otel.sampling import make_sampler
from otel.scrub import Scrub
from tests.kit.ingestion import Ingestion
from tests.kit.linux import needs_proc
from tests.kit.proxy import ProxyProcess
from tests.kit.wire import CHAT, client
from tests.otel.conftest import StartMonitored, question

SHUTDOWN_SECONDS = 3
CLIENTS = 8


@pytest.fixture
def silent(ingestion: Ingestion) -> Ingestion:
    ingestion.status = None
    return ingestion


def ask(proxy: ProxyProcess, calls: int) -> float:
    """Make calls with 20 KB of prompt each, which must all succeed; returns the slowest call's time in seconds."""
    body = question(user="x" * 20_000)

    def run(_: int) -> float:
        slowest = 0.0
        with client(proxy.url) as caller:
            for _ in range(calls // CLIENTS):
                began = time.monotonic()
                answer = caller.send("POST", CHAT, body)
                assert (answer.status, bool(answer.read())) == (200, True)
                slowest = max(slowest, time.monotonic() - began)
        return slowest

    with ThreadPoolExecutor(CLIENTS) as clients:
        return max(clients.map(run, range(CLIENTS)))


def resident_bytes(proxy: ProxyProcess) -> int:
    needs_proc()
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{proxy.pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


@pytest.mark.heavy
def test_memory_is_bounded_in_an_outage(monitored: StartMonitored, silent: Ingestion) -> None:
    """With an ingestion endpoint that accepts requests and never responds, memory grows until the queue is full and no
    further, though each call has a prompt of 20 KB; no call waits for it, and shutdown is in time."""
    proxy = monitored(
        APPLICATIONINSIGHTS_CONNECTION_STRING=silent.conn_str,
        PROXY_TRACE_RATIO="1",
        PROXY_SHUTDOWN_SECONDS=str(SHUTDOWN_SECONDS),
    )
    ask(proxy, QUEUE // 2 + 200)  # two spans each
    full = resident_bytes(proxy)
    assert ask(proxy, 2000) < 20.0  # a call that waited would wait for a response that never comes
    assert resident_bytes(proxy) - full < 5 * 1024**2  # the prompts are 40 MB, their spans without them 10 MB
    proxy.signal(signal.SIGTERM)
    proxy.wait_in_time(SHUTDOWN_SECONDS)
    assert any("queue_full" in line for line in proxy.output)


def test_offline_storage_is_bounded(ingestion: Ingestion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The offline storage does not grow past its limit, however long ingestion fails; sending goes on."""
    limit, batches = 200_000, 30
    monkeypatch.setattr(otel.azure_monitor, "STORAGE_BYTES", limit)
    ingestion.status = 500
    posted = len(ingestion.received)
    outbox = Outbox(Scrub(), lambda reason, spans: pytest.fail(f"{spans} lost: {reason}"))
    outbox.add(AzureMonitor(ingestion.conn_str, tmp_path / "storage", None).span_exporter())
    tracer: Any = make_provider([outbox], make_sampler(1.0)).get_tracer("test")
    for _ in range(batches * 64):
        tracer.start_span("call", kind=SpanKind.CLIENT).end()
    outbox.begin_stop()
    outbox.end_stop(120)
    assert len(ingestion.received) - posted >= batches
    kept = [path.stat().st_size for path in (tmp_path / "storage").iterdir()]
    assert limit < sum(map(len, ingestion.bodies[posted:]))
    assert limit / 2 < sum(kept) <= limit + max(kept)
