"""Health: whether the process is alive, and whether it can take calls and deliver their records."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fastapi import APIRouter, Response


@dataclass(frozen=True, slots=True)
class Delivery:
    """The state of record delivery."""

    backlog_records: int
    backlog_bytes: int
    oldest_seconds: float
    sent: int
    last_success: float | None
    """Seconds since the epoch."""
    lost: Mapping[str, int]
    """By reason."""
    unjournalled: int
    """Calls the journal failed to write: they would have no record if the process had been killed."""
    in_memory_bytes: int
    """What waits in memory alone, because the disk fails."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Everything /health/ready reports; no content, no caller names."""

    closing: bool
    open_calls: int
    refused: Mapping[str, int]
    """By error code."""
    delivery: Delivery
    shortcuts_off: Mapping[str, str]
    """What goes the public way instead of through the internals of a dependency, and why (docs/dependencies.md)."""


def health_router(look: Callable[[], Readiness], max_backlog_s: float | None) -> APIRouter:
    """`/health/live` and `/health/ready`; the latter is 503 while closing, and past `max_backlog_s` if set.

    An unreachable hub alone does not make the proxy unready: it accepts calls, and their records wait.
    """
    router = APIRouter(prefix="/health")

    @router.get("/live")
    async def live() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/ready")
    async def ready(response: Response) -> dict[str, object]:
        found = look()
        delivery = found.delivery
        late = max_backlog_s is not None and delivery.oldest_seconds > max_backlog_s
        response.status_code = 503 if found.closing or late else 200
        return {
            "status": "closing" if found.closing else "late" if late else "ok",
            "open_calls": found.open_calls,
            "refused": dict(found.refused),
            "records": {
                "backlog": delivery.backlog_records,
                "backlog_bytes": delivery.backlog_bytes,
                "oldest_seconds": round(delivery.oldest_seconds, 3),
                "sent": delivery.sent,
                "last_success": delivery.last_success,
                "lost": dict(delivery.lost),
                "unjournalled": delivery.unjournalled,
                "in_memory_bytes": delivery.in_memory_bytes,
            },
            "shortcuts_off": dict(found.shortcuts_off),
        }

    return router
