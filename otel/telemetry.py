"""Telemetry: sends sampled spans, metrics and logs to the destinations that are set; records go elsewhere."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from otel import logs
from otel.attributes import SCOPE
from otel.destinations import Destinations
from otel.metrics import CallMetrics, ProxyCounts, observe_proxy
from otel.outbox import BATCH, Outbox
from otel.recording import PublicRecording, Recording
from otel.scrub import Scrub

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricReader

    from otel.azure_monitor import AzureMonitor

log = logging.getLogger(__name__)

BATCH_WITH_CONTENT: Final = 16


class Telemetry:
    """Starts with the lifespan and stops within the shutdown's time limit. Without destinations it does nothing."""

    def __init__(
        self, to: Destinations, recording: type[PublicRecording] = Recording, result_codes: bool = True
    ) -> None:
        """Imports what is needed, and starts nothing. `recording` is how metrics are recorded; `result_codes`: see
        `monitor_span_exporter`."""
        self._to = to
        self._monitor = _azure_monitor(to, result_codes) if to.insights else None
        self._lost: Counter[str] = Counter()
        self._calls = CallMetrics(to.caller, recording)
        self._outbox = Outbox(Scrub(content=to.content, caller=to.caller), self._lose)
        self._closing: list[Callable[[], object]] = []
        self._handler: logging.Handler | None = None

    @property
    def processors(self) -> tuple[SpanProcessor, ...]:
        """The span processors to add to the provider."""
        return (self._calls, self._outbox) if self._to.insights or self._to.otlp else ()

    @property
    def lost(self) -> Mapping[str, int]:
        """Sampled spans that were not sent, by reason."""
        return dict(self._lost)

    def start(self, provider: TracerProvider, look: Callable[[], ProxyCounts]) -> None:
        """Start to send; `look` reads the proxy's own numbers. Raises nothing: the calls matter more."""
        try:
            self._start(provider, look)
        except Exception:
            log.exception("telemetry could not be started; the proxy runs without it")

    def begin_stop(self) -> None:
        """Start to flush the queued spans."""
        self._outbox.begin_stop()

    def end_stop(self, seconds: float) -> None:
        """Send the last metrics and logs, and wait up to `seconds` until everything is sent.

        The SDK waits up to half a minute per signal, so each is shut down in a daemon thread, which does not delay the
        process's exit.
        """
        until = time.monotonic() + seconds
        if self._handler is not None:
            logs.stop_sending(self._handler)
        threads = [threading.Thread(target=close, name="telemetry-stop", daemon=True) for close in self._closing]
        for thread in threads:
            thread.start()
        self._outbox.end_stop(seconds)
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        if self._lost:
            log.warning("spans not sent, by reason: %s", dict(self._lost))

    def _start(self, provider: TracerProvider, look: Callable[[], ProxyCounts]) -> None:
        to = self._to
        readers: list[MetricReader] = []
        batch = BATCH_WITH_CONTENT if to.content else BATCH
        if to.otlp:
            from otel.otlp import metric_reader, span_exporter

            self._outbox.add(span_exporter(to.otlp), batch)
            readers.append(metric_reader(to.otlp))
        if self._monitor is not None:
            self._outbox.add(self._monitor.span_exporter(), batch)
            signals = self._monitor.configure(provider.resource, readers)
            self._measure(signals.meters, look)
            if signals.loggers is not None and signals.handler is not None:
                self._closing.append(signals.loggers.shutdown)
                self._handler = signals.handler
                logs.send(signals.handler)
        elif readers:
            from opentelemetry.sdk.metrics import MeterProvider

            self._measure(MeterProvider(readers, provider.resource, shutdown_on_exit=False), look)

    def _measure(self, meters: "MeterProvider", look: Callable[[], ProxyCounts]) -> None:
        self._closing.append(meters.shutdown)
        meter = meters.get_meter(SCOPE)
        observe_proxy(meter, look, lambda: self.lost)
        self._calls.use(meter)

    def _lose(self, reason: str, spans: int) -> None:
        self._lost[reason] += spans


def _azure_monitor(to: Destinations, result_codes: bool) -> "AzureMonitor":
    from otel.azure_monitor import AzureMonitor

    return AzureMonitor(to.insights or "", to.storage, to.credential and to.credential(), result_codes)
