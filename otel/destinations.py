"""Destinations: where telemetry is sent, and what may be sent."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


class Credential(Protocol):
    """An Entra ID credential of azure-identity."""

    def get_token(self, *scopes: str, **kwargs: Any) -> Any:
        """A token for the scopes."""


@dataclass(frozen=True, slots=True)
class Destinations:
    """Nothing is sent to a destination that is not set."""

    insights: str | None = field(default=None, repr=False)
    """Connection string of Application Insights."""
    credential: Callable[[], Credential] | None = None
    """Creates the Entra ID credential, if one is used."""
    otlp: str | None = None
    """Base URL of an OTLP collector."""
    storage: Path = Path()
    """Directory for what Application Insights cannot take now."""
    content: bool = False
    caller: bool = False
