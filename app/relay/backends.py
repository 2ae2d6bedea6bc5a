"""Backends: the Azure OpenAI resources a call can go to, in which order, and which of them are cooling off."""

import hashlib
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

from app.upstream.credentials import UpstreamAuth

COOL_OFF_S: Final = 10.0
MAX_COOL_OFF_S: Final = 600.0
MAX_COOLING: Final = 1000


@dataclass(frozen=True, slots=True)
class Backend:
    """One Azure OpenAI resource and the credentials for it."""

    name: str
    base_url: str
    auth: UpstreamAuth
    host: str
    port: int
    priority: int = 0
    """Lower goes first; backends of equal priority share the calls."""
    deployments: frozenset[str] | None = None
    kinds: frozenset[str] | None = None
    """Which deployments, and which families of paths, it serves; None means all."""

    @classmethod
    def at(
        cls,
        name: str,
        base_url: str,
        auth: UpstreamAuth,
        priority: int = 0,
        deployments: frozenset[str] | None = None,
        kinds: frozenset[str] | None = None,
    ) -> "Backend":
        """A backend by its endpoint, a URL that the settings have validated."""
        parts = urlsplit(base_url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return cls(name, base_url, auth, parts.hostname or "", port, priority, deployments, kinds)


class Backends:
    """Chooses among backends. Cool-off is per backend and deployment, as quotas are."""

    def __init__(self, backends: Sequence[Backend], clock: Callable[[], float] = time.monotonic) -> None:
        self._backends = backends
        self._clock = clock
        self._turn = itertools.count()
        self._cold_until: dict[tuple[str, str | None], float] = {}

    @property
    def several(self) -> bool:
        """Whether there is a choice at all."""
        return len(self._backends) > 1

    def named(self, name: str) -> Backend | None:
        """The backend of that name."""
        return next((backend for backend in self._backends if backend.name == name), None)

    def serving(self, deployment: str | None, kind: str | None = None) -> list[Backend]:
        """The backends with the deployment; a call without one, such as a list of files, may go to any of its kind."""
        return [
            backend
            for backend in self._backends
            if (deployment is None or backend.deployments is None or deployment in backend.deployments)
            and (kind is None or backend.kinds is None or kind in backend.kinds)
        ]

    def order(self, deployment: str | None, sticky: str | None = None, kind: str | None = None) -> list[Backend]:
        """The backends to try in turn: all warm ones by priority, then the one whose cool-off ends first.

        Backends of equal priority take turns. Calls with the same `sticky` value go to the same backend while it is
        warm (rendezvous hashing: adding or removing a backend moves only its own share).
        """
        now, turn = self._clock(), next(self._turn)
        serving = self.serving(deployment, kind)
        if len(serving) == 1:  # a sole backend never cools off
            return serving
        warm = [b for b in serving if self._cold_until.get((b.name, deployment), 0.0) <= now]
        cold = [b for b in serving if b not in warm]
        ordered: list[Backend] = []
        for _, group in itertools.groupby(sorted(warm, key=lambda b: b.priority), key=lambda b: b.priority):
            equals = list(group)
            if sticky is not None:
                equals.sort(key=lambda b: hashlib.sha256(f"{b.name}\0{sticky}".encode(errors="surrogatepass")).digest())
            else:
                first = turn % len(equals)
                equals = equals[first:] + equals[:first]
            ordered += equals
        least_cold = min(cold, key=lambda b: self._cold_until[b.name, deployment], default=None)
        return [*ordered, least_cold] if least_cold else ordered

    def cool_off(self, backend: Backend, deployment: str | None, seconds: float | None) -> None:
        """Avoid a backend for `seconds`, or COOL_OFF_S if None. A sole backend never cools off."""
        if len(self.serving(deployment)) > 1:
            pause = min(COOL_OFF_S if seconds is None else seconds, MAX_COOL_OFF_S)
            now = self._clock()
            if len(self._cold_until) >= MAX_COOLING:  # clients can name any deployment
                self._cold_until = {which: until for which, until in self._cold_until.items() if until > now}
            self._cold_until[backend.name, deployment] = now + pause


def retry_after(milliseconds: str | None, after: str | None) -> float | None:
    """The delay in seconds from `retry-after-ms`, else `retry-after` (seconds or a date); None without either."""
    for text, unit in ((milliseconds, 1000.0), (after, 1.0)):
        try:
            if text is not None and (value := float(text) / unit) >= 0:
                return value
        except ValueError:
            continue
    try:
        until = parsedate_to_datetime(after) if after else None
    except (ValueError, OverflowError):  # a year or UTC offset out of range
        return None
    return max(0.0, (until - datetime.now(UTC)).total_seconds()) if until and until.tzinfo else None
