"""Telemetry settings: Application Insights, by key or Entra ID, and an OTLP collector."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from app.settings.backends import url_fault

CONN_STR: Final = "APPLICATIONINSIGHTS_CONNECTION_STRING"
AUTHENTICATION: Final = "APPLICATIONINSIGHTS_AUTHENTICATION_STRING"
ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
PROTOCOL: Final = "OTEL_EXPORTER_OTLP_PROTOCOL"

_KEY: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """`insights` is the connection string of Application Insights, `otlp` a collector's base URL; None: not used."""

    insights: str | None = field(default=None, repr=False)
    entra: bool = False
    """Authenticate with Entra ID: as the managed identity `client_id`, or with the default credential."""
    client_id: str | None = None
    otlp: str | None = None
    content: bool = False
    caller: bool = False


def read_telemetry(
    text: Callable[[str], str | None], content: bool, caller: bool
) -> tuple[TelemetrySettings, list[str]]:
    """The settings, and every fault in them; `text` returns a variable's value, None if missing or empty."""
    faults: list[str] = []
    insights, otlp = text(CONN_STR), text(ENDPOINT)
    if insights and (fault := _insights_fault(insights)):
        faults.append(f"{CONN_STR} {fault}")
    if otlp and (fault := url_fault(otlp)):
        faults.append(f"{ENDPOINT} {fault}")
    if otlp and text(PROTOCOL) not in (None, "http/protobuf"):
        faults.append(f"{PROTOCOL} must be http/protobuf, the only supported protocol")
    authentication = dict(_pairs(text(AUTHENTICATION) or ""))
    client_id = authentication.pop("clientid", None)
    if text(AUTHENTICATION) and authentication != {"authorization": "AAD"}:
        faults.append(f"{AUTHENTICATION} must be Authorization=AAD, with ;ClientId=… for a user-assigned identity")
    return TelemetrySettings(insights, bool(authentication), client_id, otlp, content, caller), faults


def _insights_fault(conn_str: str) -> str | None:
    """What is wrong with a connection string by the rules of Azure's exporter, without repeating it."""
    if any(part.count("=") != 1 for part in conn_str.split(";")):
        return "must be of the form name=value;name=value, with nothing after the last value"
    parts = dict(_pairs(conn_str))
    if not _KEY.fullmatch(parts.get("instrumentationkey", "")):
        return "has no InstrumentationKey that is a lower-case UUID"
    if "ingestionendpoint" in parts and url_fault(parts["ingestionendpoint"]):
        return "has an IngestionEndpoint that is not an http or https URL"
    return None


def _pairs(text: str) -> list[tuple[str, str]]:
    """The pairs of `name=value;name=value`, names in lower case."""
    parts = (part.partition("=") for part in text.split(";") if part)
    return [(name.strip().lower(), value.strip()) for name, _, value in parts]
