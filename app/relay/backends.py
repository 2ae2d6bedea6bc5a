"""Backends: the Azure OpenAI resources a call can go to, the order in which they are tried, and who is cooling off."""

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
LONGEST_COOL_OFF_S: Final = 600.0
KNOWN: Final = 1000


@dataclass(frozen=True, slots=True)
class Backend:
    """One Azure OpenAI resource and what lets the proxy in there."""

    name: str
    base_url: str
    auth: UpstreamAuth
    host: str
    port: int
    priority: int = 0
    """Lower goes first; equals share."""
    deployments: frozenset[str] | None = None
    """None means all."""

    @classmethod
    def at(
        cls,
        name: str,
        base_url: str,
        auth: UpstreamAuth,
        priority: int = 0,
        deployments: frozenset[str] | None = None,
    ) -> "Backend":
        """A backend by its endpoint, which settings have found to be a URL."""
        parts = urlsplit(base_url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return cls(name, base_url, auth, parts.hostname or "", port, priority, deployments)


class Backends:
    """Chooses among backends. Cool-off is kept per backend and deployment, since quotas are."""

    def __init__(self, backends: Sequence[Backend], clock: Callable[[], float] = time.monotonic) -> None:
        self._backends = backends
        self._clock = clock
        self._turn = itertools.count()
        self._cold_until: dict[tuple[str, str | None], float] = {}

    def serving(self, deployment: str | None) -> list[Backend]:
        """Those that have the deployment; a call of none, such as a list of files, may go to any."""
        return [b for b in self._backends if deployment is None or b.deployments is None or deployment in b.deployments]

    def order(self, deployment: str | None, sticky: str | None = None) -> list[Backend]:
        """The backends to try, one after the other: all warm ones by priority, and then the least cold one.

        Among equals, calls take turns; with a `sticky` value, calls of the same value go to the same one as long as
        that is warm (rendezvous hashing: a backend that comes or goes moves only its own share).
        """
        now, turn = self._clock(), next(self._turn)
        serving = self.serving(deployment)
        if len(serving) == 1:  # which is never left alone
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
        """Leave a backend alone for as long as it asked, or some seconds. A sole backend is never left alone."""
        if len(self.serving(deployment)) > 1:
            pause = min(COOL_OFF_S if seconds is None else seconds, LONGEST_COOL_OFF_S)
            now = self._clock()
            if len(self._cold_until) >= KNOWN:  # a client may name any deployment
                self._cold_until = {which: until for which, until in self._cold_until.items() if until > now}
            self._cold_until[backend.name, deployment] = now + pause


def retry_after(milliseconds: str | None, after: str | None) -> float | None:
    """The seconds that `retry-after-ms` or else `retry-after` (seconds or a date) ask for; None if neither does."""
    for text, unit in ((milliseconds, 1000.0), (after, 1.0)):
        try:
            if text is not None and (value := float(text) / unit) >= 0:
                return value
        except ValueError:
            continue
    try:
        until = parsedate_to_datetime(after) if after else None
    except (ValueError, OverflowError):  # a year, or an offset from UTC, that no date has
        return None
    return max(0.0, (until - datetime.now(UTC)).total_seconds()) if until and until.tzinfo else None
