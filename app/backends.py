"""Backends: the Azure OpenAI resources a call can go to, and the choice among them."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from app.auth import UpstreamAuth


@dataclass(frozen=True, slots=True)
class Backend:
    """One Azure OpenAI resource and what lets the proxy in there."""

    name: str
    base_url: str
    auth: UpstreamAuth
    host: str
    port: int

    @classmethod
    def at(cls, name: str, base_url: str, auth: UpstreamAuth) -> "Backend":
        """A backend by its endpoint, which settings have found to be a URL."""
        parts = urlsplit(base_url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return cls(name, base_url, auth, parts.hostname or "", port)


class Backends:
    """The backends in the order they were given."""

    def __init__(self, backends: tuple[Backend, ...]) -> None:
        self._backends = backends

    def choose(self) -> Backend:
        """The backend for the next call."""
        return self._backends[0]
