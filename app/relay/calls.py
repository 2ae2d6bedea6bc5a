"""OpenCalls: the calls in flight, so that a shutdown can wait for them and then cut them off."""

import asyncio

from app.relay.cutoff import Cutoff, Reason


class OpenCalls:
    """Lives on one event loop."""

    def __init__(self) -> None:
        self._cutoffs: set[Cutoff] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self.closing = False
        """Set when no new call may start."""

    def __len__(self) -> int:
        return len(self._cutoffs)

    def enter(self, cutoff: Cutoff) -> None:
        """Count a call that starts."""
        self._cutoffs.add(cutoff)
        self._idle.clear()

    def leave(self, cutoff: Cutoff) -> None:
        """Stop counting a call that has ended."""
        self._cutoffs.discard(cutoff)
        if not self._cutoffs:
            self._idle.set()

    async def wait_idle(self, seconds: float) -> bool:
        """Wait for the open calls to end; False if some are still open after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def drain(self) -> None:
        """Take no new calls, and tell the open ones."""
        self.closing = True
        for cutoff in list(self._cutoffs):
            cutoff.drain()

    def cut_all(self) -> int:
        """Cut off all open calls and return their number."""
        open_cutoffs = list(self._cutoffs)
        for cutoff in open_cutoffs:
            cutoff.cut(Reason.SHUTDOWN)
        return len(open_cutoffs)
