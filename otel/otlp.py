"""OTLP: traces and metrics to any collector, by protobuf over HTTP.

The endpoint is a base URL, to which the signal's path is added, as the specification has it for
OTEL_EXPORTER_OTLP_ENDPOINT; OTEL_EXPORTER_OTLP_HEADERS, _TIMEOUT, _COMPRESSION, _CERTIFICATE and the like are read by
the exporters themselves.
"""

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.trace.export import SpanExporter


def span_exporter(endpoint: str) -> SpanExporter:
    """Sends spans; they must have been scrubbed. What a collector does not take within its retries is lost."""
    return OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")


def metric_reader(endpoint: str) -> MetricReader:
    """Sends metrics once a minute, or as OTEL_METRIC_EXPORT_INTERVAL says, and once more when it is shut down."""
    return PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=f"{endpoint.rstrip('/')}/v1/metrics"))
