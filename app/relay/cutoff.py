"""Cutoff: ends a call from outside. The first reason counts."""

import asyncio
from enum import StrEnum


class Reason(StrEnum):
    """Why a call was cut off."""

    CLIENT_GONE = "client_gone"
    TIME_OVER = "time_over"
    SHUTDOWN = "shutdown"


class Cutoff:
    """Cancels the task that runs a call, and tells its own cancellation from any other.

    Use as a context manager around the code that may be cut off. It swallows the CancelledError of a cut, so that the
    code after it can end the call by its `reason`. A cut after the block has no effect.
    """

    def __init__(self) -> None:
        self.reason: Reason | None = None
        self._task: asyncio.Task[object] | None = None

    def cut(self, reason: Reason) -> None:
        """Cancel the task; only the first cut has an effect."""
        if self.reason is None and self._task is not None:
            self.reason = reason
            self._task.cancel()

    def drain(self) -> None:
        """A shutdown has begun. A call goes on until it ends, or is cut."""

    def __enter__(self) -> "Cutoff":
        self._task = asyncio.current_task()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: object) -> bool:
        task, self._task = self._task, None
        if self.reason is None or task is None:
            return False
        ours = task.uncancel() == 0
        return ours and kind is not None and issubclass(kind, asyncio.CancelledError)
