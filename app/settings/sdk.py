"""OpenTelemetry's own variables: those that its SDK would fail on, or that cannot be honoured, are faults."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

_NUMBERS: Final = re.compile(
    r"OTEL_(?:(?:SPAN|EVENT|LINK|LOGRECORD)_\w+|ATTRIBUTE_\w+)_LIMIT"
    r"|OTEL_(?:BSP|BLRP)_\w+|OTEL_METRIC_EXPORT_(?:INTERVAL|TIMEOUT)|OTEL_EXPORTER_OTLP_(?:\w+_)?TIMEOUT"
)
_PROPAGATION: Final = re.compile(r"OTEL_(?:PROPAGATORS)")
_PROPAGATORS: Final = frozenset({"tracecontext", "baggage", "none"})


def sdk_faults(environ: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with them, without their values."""
    for name, value in sorted(environ.items()):
        if value and _NUMBERS.fullmatch(name) and not re.fullmatch(r"\d{1,15}(\.\d+)?", value, re.ASCII):
            yield f"{name} must be a number"
        named = {one.strip().lower() for one in value.split(",")} - {""}
        if _PROPAGATION.fullmatch(name) and not named <= _PROPAGATORS:
            yield f"{name} can name tracecontext, baggage and none here: the proxy itself follows W3C Trace Context"
