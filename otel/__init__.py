"""The span: the facts of one call, how they become an OpenTelemetry span, and the exporters for spans and metrics."""
