"""Collector: a stand-in for an OTLP collector; decodes with OpenTelemetry's own protobuf classes."""

from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.kit.receiver import Receiver


class Collector(Receiver):
    """Accepts everything."""

    def spans(self, trace_id: str | None = None) -> list[Span]:
        return [
            span
            for received in list(self.received)
            if received.path == "/v1/traces"
            for resource in ExportTraceServiceRequest.FromString(received.body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
            if trace_id is None or span.trace_id.hex() == trace_id
        ]

    def metrics(self, name: str, service: str | None = None) -> list[Metric]:
        """All metrics of that name, from one service or any, in order of arrival."""
        return [
            metric
            for received in list(self.received)
            if received.path == "/v1/metrics"
            for resource in ExportMetricsServiceRequest.FromString(received.body).resource_metrics
            if service is None or attributes(resource.resource)["service.name"] == service
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
        ]

    def service_names(self, trace_id: bytes) -> set[str]:
        """Those of the resources that sent spans of a trace."""
        return {
            str(attributes(resource.resource)["service.name"])
            for received in list(self.received)
            if received.path == "/v1/traces"
            for resource in ExportTraceServiceRequest.FromString(received.body).resource_spans
            if any(span.trace_id == trace_id for scope in resource.scope_spans for span in scope.spans)
        }


def attributes(of: Any) -> dict[str, Any]:
    """Attributes of a span, an event, a data point or a resource."""
    return {pair.key: _value(pair.value) for pair in of.attributes}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(entry) for entry in value.array_value.values]
    return getattr(value, kind) if kind else None
