"""The span: the facts of one call, how they become an OpenTelemetry span, and the exporters for spans and metrics.

Call (call.py) ── CallSpan (span.py) ── attributes.py: their names
provider.py, sampling.py   which spans there are, and which of them leave the process
processor.py               every call span to the record's exporter
telemetry.py ── azure_monitor.py, azure_exporter.py, otlp.py: where spans and metrics go
             ├─ scrub.py, outbox.py: what leaves the process, and what waits to
             └─ metrics.py, recording.py, fetched.py
"""
