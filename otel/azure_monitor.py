"""AzureMonitor: Application Insights through azure-monitor-opentelemetry, which takes half a second to import.

The distro's `configure_azure_monitor` sets up metrics and logs, as the process's global providers. It would make its
tracer provider global too, and export none of our spans: they go through our own provider and
`monitor_span_exporter`.

What cannot be sent is stored on disk, scrubbed like everything that leaves, and sent after the next success: at most
`STORAGE_BYTES` for 48 hours. So a failed batch is not retried in place, which would only delay the next one.
"""

import atexit
import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from opentelemetry._logs import get_logger_provider
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.metrics import get_meter_provider
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor, ReadWriteLogRecord
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.metrics.view import DropAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SpanExporter

from otel.azure_exporter import monitor_span_exporter
from otel.destinations import Credential

STORAGE_BYTES: Final = 50 * 1024**2
READ_SECONDS: Final = 10
_LOGGER: Final = "azure_openai_proxy.unheard"

# Turns off what the distro sends about itself to other endpoints, or fetches from them; and the Azure VM detector,
# which waits for an address that only a VM has.
QUIET: Final = {
    "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
    "APPLICATIONINSIGHTS_SDKSTATS_DISABLED": "true",
    "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
    "APPLICATIONINSIGHTS_OPENTELEMETRY_RESOURCE_METRIC_DISABLED": "true",
    "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "azure_app_service",
}
_INSTRUMENTED: Final = (
    *("azure_sdk", "django", "fastapi", "flask", "httpx", "httpx2", "psycopg2", "requests", "urllib", "urllib3"),
)


@dataclass(frozen=True, slots=True)
class Signals:
    """What `configure` set up: the meter provider, and the handler that sends log records."""

    meters: MeterProvider
    loggers: LoggerProvider | None
    handler: logging.Handler | None


class AzureMonitor:
    """One Application Insights resource. At most one in a process, since the distro's providers are global."""

    def __init__(self, conn_str: str, storage: Path, credential: Credential | None, result_codes: bool = True) -> None:
        """`storage` is a directory for this exporter only, created with mode 0700 when needed. `result_codes`: see
        `monitor_span_exporter`."""
        self._result_codes = result_codes
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        import azure.monitor.opentelemetry  # noqa: F401  slow: imported now rather than in the lifespan

        self._storage = storage
        self._arguments: dict[str, Any] = {
            "connection_string": conn_str,
            "credential": credential,
            "storage_directory": str(storage),
            "storage_max_size": STORAGE_BYTES,
            "read_timeout": READ_SECONDS,
            "retry_total": 1,  # for a connection that was closed while idle
            "retry_status": 0,
        }

    def span_exporter(self) -> SpanExporter:
        """The exporter; it starts a thread that maintains the storage."""
        with contextlib.suppress(OSError):  # the exporter then works without storage
            for directory in (self._storage.parent, self._storage):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return monitor_span_exporter(self._arguments, self._result_codes)

    def configure(self, resource: Resource, readers: Sequence[MetricReader]) -> Signals:
        """Set up metrics, with `readers` for other destinations, and logs."""
        from azure.monitor.opentelemetry import configure_azure_monitor

        with _environ(OTEL_TRACES_EXPORTER="none"):
            configure_azure_monitor(
                **self._arguments,
                resource=resource,
                logger_name=_LOGGER,
                metric_readers=list(readers),
                # the Functions extension's own server would count each request a second time
                views=[View(meter_name="fastapi", instrument_name="*", aggregation=DropAggregation())],
                log_record_processors=[_NoExceptionText()],
                enable_live_metrics=False,
                enable_performance_counters=False,
                instrumentation_options={name: {"enabled": False} for name in _INSTRUMENTED},
            )
        meters, loggers = get_meter_provider(), get_logger_provider()
        assert isinstance(meters, MeterProvider)
        handlers = logging.getLogger(_LOGGER).handlers
        handler = next((each for each in handlers if isinstance(each, LoggingHandler)), None)
        # at exit each would wait for half a minute: they are shut down with everything else, within the time limit
        atexit.unregister(meters.shutdown)
        if isinstance(loggers, LoggerProvider):
            atexit.unregister(loggers.shutdown)
            return Signals(meters, loggers, handler)
        return Signals(meters, None, None)


class _NoExceptionText(LogRecordProcessor):
    """Removes an exception's text, which may quote what a caller wrote; `otel.logs` adds its type and stack."""

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        attributes = log_record.log_record.attributes
        if attributes and "exception.message" in attributes:
            kept = {name: value for name, value in attributes.items() if name != "exception.message"}
            kept.pop("exception.stacktrace", None)
            log_record.log_record.attributes = kept

    def shutdown(self) -> None: ...

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True


@contextlib.contextmanager
def _environ(**values: str) -> Iterator[None]:
    """Set these environment variables while the block runs."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
