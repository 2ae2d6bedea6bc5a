"""Ingestion: a stand-in for Application Insights' endpoint; decodes the envelopes and responds as a test says."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.kit.receiver import NOTHING, Answer, Received, Receiver

KEY = "00000000-1111-2222-3333-444444444444"


class Envelope:
    """One telemetry item, as sent."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self.raw = raw
        self.kind: str = raw["data"]["baseType"]
        self.base: dict[str, Any] = raw["data"]["baseData"]
        self.tags: dict[str, str] = raw["tags"]
        self.sample_rate: float | None = raw.get("sampleRate")
        self.properties: dict[str, str] = self.base.get("properties") or {}
        self.measurements: dict[str, float] = self.base.get("measurements") or {}

    @property
    def at(self) -> datetime:
        return datetime.fromisoformat(self.raw["time"])

    @property
    def trace_id(self) -> str | None:
        return self.tags.get("ai.operation.id")

    @property
    def parent_id(self) -> str | None:
        return self.tags.get("ai.operation.parentId")

    @property
    def metric(self) -> str | None:
        return str(self.base["metrics"][0]["name"]) if self.kind == "MetricData" else None


class Ingestion(Receiver):
    """Responds 200 unless `status` says otherwise for all, or `script` for the next requests in turn."""

    def __init__(self, certificate: Path | None = None) -> None:
        super().__init__(certificate)
        self.status: int | None = 200
        self.script: list[int | None] = []
        self.accepted: list[Envelope] = []
        self.answer = self._answer

    @property
    def conn_str(self) -> str:
        return f"InstrumentationKey={KEY};IngestionEndpoint={self.url}"

    def envelopes(self, *kinds: str) -> list[Envelope]:
        """Accepted envelopes of these kinds, or of all."""
        return [envelope for envelope in list(self.accepted) if not kinds or envelope.kind in kinds]

    def of_trace(self, trace_id: str, *kinds: str) -> list[Envelope]:
        return [envelope for envelope in self.envelopes(*kinds) if envelope.trace_id == trace_id]

    def trace(self, trace_id: str) -> list[Envelope]:
        """All envelopes of a trace, once its request has arrived; the others are sent with it or before."""
        self.wait_for(lambda: self.of_trace(trace_id, "RequestData"))
        return self.of_trace(trace_id)

    def call(self, trace_id: str) -> Envelope:
        """The one dependency of a trace."""
        (found,) = [envelope for envelope in self.trace(trace_id) if envelope.kind == "RemoteDependencyData"]
        return found

    def metrics(self, name: str) -> list[Envelope]:
        return [envelope for envelope in self.envelopes("MetricData") if envelope.metric == name]

    def everything(self) -> str:
        """Every byte that was sent here, accepted or not."""
        return b"\n".join(self.bodies).decode()

    def _answer(self, received: Received) -> Answer | None:
        assert received.path == "/v2.1/track", received.path
        sent = [Envelope(raw) for raw in json.loads(received.body)]
        status = self.script.pop(0) if self.script else self.status
        match status:
            case None:
                return NOTHING
            case 200:
                self.accepted += sent
                return 200, {}, _verdict(len(sent), [])
            case 206:  # the first may be retried, the second may not
                errors = [{"index": 0, "statusCode": 500, "message": "try again"}]
                errors += [{"index": 1, "statusCode": 400, "message": "no good"}] if len(sent) > 1 else []
                self.accepted += sent[len(errors) :]
                return 206, {}, _verdict(len(sent), errors)
            case 429:
                return 429, {"retry-after": "30"}, b""
        return status, {}, b""


def _verdict(received: int, errors: list[dict[str, Any]]) -> bytes:
    accepted = received - len(errors)
    return json.dumps({"itemsReceived": received, "itemsAccepted": accepted, "errors": errors}).encode()


def ingestions(make: Callable[[], Ingestion] = Ingestion) -> Iterator[Ingestion]:
    """For a fixture: an Ingestion that is closed at the end."""
    ingestion = make()
    yield ingestion
    ingestion.close()
