"""The span: the facts of one call, and how they become an OpenTelemetry span."""
