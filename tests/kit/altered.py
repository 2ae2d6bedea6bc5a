"""Dependencies as another release of them may be: words in their modules are renamed, in processes of their own."""

import json
from dataclasses import dataclass
from pathlib import Path

ALTERING = Path(__file__).with_name("altering")
AMQP = "azure.eventhub._pyamqp"


@dataclass(frozen=True)
class Alteration:
    """A word that is renamed, in which modules, and which shortcut of ours leans on it."""

    shortcut: str
    word: str
    modules: tuple[str, ...]
    other: str = ""

    def __str__(self) -> str:
        return self.word

    @property
    def environ(self) -> dict[str, str]:
        """The environment of a Python process in which it is so."""
        altered = {module: {self.word: self.other or f"another{self.word}"} for module in self.modules}
        return {"PYTHONPATH": str(ALTERING), "ALTERED": json.dumps(altered)}


ENCODING = ("_encode", "_transport", "session", "aio._session_async", "aio._transport_async")
COUNT = Alteration("records", "_count", ("azure.eventhub._common",))
WINDOW = Alteration("records", "remote_incoming_window", (f"{AMQP}.aio._session_async",))
ENCODER = Alteration("records", "encode_frame", tuple(f"{AMQP}.{name}" for name in ENCODING))
ATTRIBUTES = Alteration("spans", "_dict", ("opentelemetry.attributes",))
EVENTS = Alteration("spans", "_events", ("opentelemetry.sdk.trace",))
AGGREGATIONS = Alteration(
    "metrics", "_attributes_aggregation", ("opentelemetry.sdk.metrics._internal._view_instrument_match",)
)
ENVELOPES = Alteration(
    "result codes",
    "base_data",
    tuple(
        f"azure.monitor.opentelemetry.exporter.{name}"
        for name in (
            *("_generated.exporter.models._models", "statsbeat.customer._utils"),
            *(f"export.{signal}._exporter" for signal in ("trace", "metrics", "logs")),
        )
    ),
)
HEADERS = Alteration("headers", "default_headers", ("uvicorn.server", "uvicorn.protocols.http.httptools_impl"))
CONNECTIONS = Alteration("connections", "timeout_keep_alive_task", ("uvicorn.protocols.http.httptools_impl",))
HANDLER = Alteration("shutdown", "handle_exit", ("uvicorn.server",))
NO_SIGTERM = Alteration("shutdown", "SIGTERM", ("uvicorn.server",), "SIGUSR1")

ALTERATIONS = (COUNT, WINDOW, ENCODER, ATTRIBUTES, EVENTS, AGGREGATIONS, ENVELOPES, HEADERS, CONNECTIONS, HANDLER)
