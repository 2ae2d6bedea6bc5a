"""Destinations: where telemetry goes, and what may go there."""

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
    """Each is absent unless set."""

    insights: str | None = field(default=None, repr=False)
    """Connection string of Application Insights."""
    credential: Callable[[], Credential] | None = None
    """Makes the Entra ID credential, if one is to be used."""
    otlp: str | None = None
    """Base URL of an OTLP collector."""
    storage: Path = Path()
    """What Application Insights cannot take now waits in this directory."""
    content: bool = False
    caller: bool = False
