"""OTLP: traces and metrics to any collector, as protobuf over HTTP.

The endpoint is a base URL; the signal's path is appended, as the specification says for OTEL_EXPORTER_OTLP_ENDPOINT.
The exporters themselves read OTEL_EXPORTER_OTLP_HEADERS, _TIMEOUT, _COMPRESSION, _CERTIFICATE and the like.
"""

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.trace.export import SpanExporter


def span_exporter(endpoint: str) -> SpanExporter:
    """Sends spans, which must have been scrubbed. Those a collector does not accept within the retries are lost."""
    return OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")


def metric_reader(endpoint: str) -> MetricReader:
    """Sends metrics every minute, or as OTEL_METRIC_EXPORT_INTERVAL says, and once more at shutdown."""
    return PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=f"{endpoint.rstrip('/')}/v1/metrics"))
