"""The proxy as `dev.up` runs it: with an extra span processor that writes every finished span to a file.

`uvicorn dev.traced:create_app --factory`. This is the only file of dev/ that imports the proxy, and only when
the server creates the application. DEV_SPANS_FILE names the file: one JSON object per line, without message content.
The process ends when its stdin does. `dev.up` holds the other end, so the process cannot outlive it.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from fastapi import FastAPI
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from dev.tied import tie


class SpanFile(SpanExporter):
    """Appends spans to a file, without the attributes named in `content`."""

    def __init__(self, path: Path, content: frozenset[str]) -> None:
        self._path = path
        self._content = content

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write one line per span."""
        with self._path.open("a", encoding="utf-8") as file:
            for span in spans:
                shown = json.loads(span.to_json())
                shown["attributes"] = {k: v for k, v in shown["attributes"].items() if k not in self._content}
                file.write(json.dumps(shown) + "\n")
        return SpanExportResult.SUCCESS


def create_app() -> FastAPI:
    """Create the proxy, configured by the environment."""
    from app.main import create_app as create_proxy
    from otel.attributes import CONTENT

    tie()
    spans = SpanFile(Path(os.environ["DEV_SPANS_FILE"]), CONTENT)
    return create_proxy(span_processors=[SimpleSpanProcessor(spans)])
