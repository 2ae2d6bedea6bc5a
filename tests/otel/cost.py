"""Measures what traces and metrics cost per streamed call, in µs of CPU, and prints one JSON object.

    python -m tests.otel.cost CONNECTION_STRING DIRECTORY

`spans` is the cost of a call's two spans, which are always created, since the record is built from them. `unsampled`
and `sampled` are the additional cost in the call's thread with Application Insights set up: sampling and metrics, and
for sampled calls scrubbing and queueing. `export` is the work of the exporter's thread per sampled call, its requests
included. Each is the median of several rounds.
"""

import json
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind

from otel import attributes as a
from otel.azure_monitor import AzureMonitor
from otel.call import Attempt, Call, Choice, Request, Usage
from otel.metrics import CallMetrics
from otel.outbox import Outbox
from otel.provider import make_provider
from otel.sampling import make_sampler
from otel.scrub import Scrub
from otel.span import CallSpan

CALLS: Final = 900
ROUNDS: Final = 6
REQUEST: Final[dict[str, str | int]] = {
    "http.scheme": "http",
    "http.host": "127.0.0.1:8000",
    "http.server_name": "127.0.0.1:8000",
    "http.flavor": "1.1",
    "http.method": "POST",
    "http.route": "/openai/{path:path}",
    "http.target": "/openai/deployments/gpt-4o/chat/completions",
    "http.url": "http://127.0.0.1:8000/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
    "http.user_agent": "AzureOpenAI/Python 2.8.0",
    "net.host.port": 8000,
    "net.peer.ip": "127.0.0.1",
    "net.peer.port": 40000,
}
PROMPT: Final = json.dumps([{"role": "user", "content": "x" * 1000}])


class Gated(SpanExporter):
    """Exports nothing before `go` is set, so that the export does not overlap with the calls."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self.go = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.go.wait()
        return self._inner.export(spans)


def call(provider: TracerProvider) -> float:
    """Make one call; returns the CPU seconds of this thread."""
    server, client = provider.get_tracer("server"), provider.get_tracer(a.SCOPE)
    began = time.thread_time()
    with server.start_as_current_span("POST /openai/{path:path}", kind=SpanKind.SERVER, attributes=REQUEST) as span:
        request = Request(model="gpt-4o", stream=True, prompt=PROMPT)
        call = Call(operation="chat", deployment="gpt-4o", request=request)
        call.attempts.append(Attempt("default", call.arrived_ns, 200))
        call.first_chunk_ns = call.first_token_ns = call.arrived_ns + 10**6
        call.end_ns = call.arrived_ns + 10**9
        call.http_status, call.region, call.chunks, call.server_address = 200, "East US 2", 100, "example.test"
        call.answer.choices, call.answer.usage = [Choice(content="x" * 400)], Usage(10, 20, 30)
        CallSpan(client, call).finish()
        span.set_attribute("http.status_code", 200)
    return time.thread_time() - began


def measured(conn_str: str, directory: Path) -> dict[str, float]:
    """One round: calls of the three kinds in turn, then the export of the sampled ones."""
    meter = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False).get_meter(a.SCOPE)
    metrics, outbox = CallMetrics(), Outbox(Scrub(), lambda reason, spans: sys.exit(f"{spans} spans lost: {reason}"))
    exporter = Gated(AzureMonitor(conn_str, directory, None).span_exporter())
    metrics.use(meter)
    outbox.add(exporter)
    kinds = {
        "spans": make_provider([], make_sampler(0.0)),
        "unsampled": make_provider([metrics, outbox], make_sampler(0.0)),
        "sampled": make_provider([metrics, outbox], make_sampler(1.0)),
    }
    rows = [[call(provider) for provider in kinds.values()] for _ in range(CALLS)]
    spans, unsampled, sampled = (statistics.median(times) for times in zip(*rows, strict=True))
    began_all, began_here = time.process_time(), time.thread_time()
    exporter.go.set()
    outbox.begin_stop()
    outbox.end_stop(60)
    export = time.process_time() - began_all - (time.thread_time() - began_here)
    return {"spans": spans, "unsampled": unsampled - spans, "sampled": sampled - spans, "export": export / CALLS}


def main() -> None:
    rounds = [measured(sys.argv[1], Path(sys.argv[2])) for _ in range(ROUNDS)]
    print(json.dumps({name: round(statistics.median(one[name] for one in rounds) * 1e6, 1) for name in rounds[0]}))


if __name__ == "__main__":
    main()
