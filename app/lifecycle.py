"""Lifecycle: opens what needs a running loop, and ends the process in time whatever hangs."""

import asyncio
import contextlib
import faulthandler
import logging
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Final

from app.relay.calls import OpenCalls
from app.upstream import Pool

log = logging.getLogger(__name__)

FLUSH_S: Final = 3.0
GRACE_S: Final = 2.0
_STDERR: Final = 2


class Lifecycle:
    """The start, and a stop that runs once, whether a signal, the lifespan or the Functions host triggers it.

    A stop has `shutdown_seconds`. Open calls may continue except in the last three seconds (or the second half, if that
    is shorter); then they are cut off, and the rest of the time is for flushing records. Servers wait for their
    connections without a limit before they end the lifespan, so the stop starts at the signal itself, and sets the
    server's limit. Only the first signal counts: a second one would make uvicorn exit without ending the lifespan. A
    process still alive two seconds after the deadline exits with status 1 and dumps each thread's stack; the records
    are on disk.
    """

    def __init__(
        self,
        calls: OpenCalls,
        shutdown_seconds: float,
        start: Callable[[], None],
        flush: Callable[[float], None],
        close: Callable[[], Awaitable[None]],
    ) -> None:
        """`start` begins delivery; `flush` ends it and blocks for at most the given seconds; `close` frees the rest."""
        self._calls = calls
        self._shutdown_seconds = shutdown_seconds
        self._start = start
        self._flush = flush
        self._close = close
        self._pool: Pool | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._stop_at = 0.0
        self.limits_server = True
        """Whether uvicorn can be told how long to wait: see `why_no_limit`."""

    def pool(self) -> Pool:
        """The connections to upstream, on the serving loop."""
        assert self._pool is not None, "the lifespan has not started"
        return self._pool

    @contextlib.asynccontextmanager
    async def lifespan(self, app: object) -> AsyncIterator[None]:
        """The ASGI lifespan."""
        self._loop = asyncio.get_running_loop()
        self._pool = Pool()
        self._pool.prepare()
        self._start()
        restore = self._listen_to_signals()
        try:
            yield
        finally:
            try:
                await self._begin_stop()
            finally:
                restore()

    def shutdown(self) -> None:
        """Stop, and return when that is done or its time has run out. For threads other than the loop's."""
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        with contextlib.suppress(TimeoutError, RuntimeError):
            asyncio.run_coroutine_threadsafe(self._wait_for_stop(), loop).result(self._shutdown_seconds + 1.0)

    async def _wait_for_stop(self) -> None:
        await self._begin_stop()

    def _begin_stop(self) -> asyncio.Task[None]:
        """The one stop, started now if it is not running yet. Call it on the loop's thread."""
        if self._stopping is None:
            self._calls.drain()
            self._stop_at = time.monotonic() + self._shutdown_seconds
            self._stopping = asyncio.create_task(self._stop())
        return self._stopping

    async def _stop(self) -> None:
        may_run = max(self._shutdown_seconds / 2, self._shutdown_seconds - FLUSH_S)
        if not await self._calls.wait_idle(may_run):
            cut = self._calls.cut_all()
            log.warning("%d calls were cut off by the shutdown", cut)
            await self._calls.wait_idle((self._shutdown_seconds - may_run) / 2)
        # not the loop's default executor: hanging DNS look-ups may occupy all of its threads
        flushing = ThreadPoolExecutor(1, "flush")
        try:
            left = max(0.0, self._stop_at - time.monotonic())
            await asyncio.get_running_loop().run_in_executor(flushing, self._flush, left)
        finally:
            flushing.shutdown(wait=False)
            if self._pool is not None:
                await self._pool.close()
            await self._close()

    def _listen_to_signals(self) -> Callable[[], None]:
        """Begin the stop at SIGTERM or SIGINT, then call the server's own handler. Returns what undoes this."""
        if threading.current_thread() is not threading.main_thread():
            return lambda: None
        loop = asyncio.get_running_loop()
        previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        signalled = False

        def on_signal(number: int, frame: FrameType | None) -> None:
            nonlocal signalled
            if signalled:
                return
            signalled = True
            loop.call_soon_threadsafe(self._begin_stop)
            # not a Python thread: those can hang too, and must not run during interpreter finalization
            faulthandler.dump_traceback_later(self._shutdown_seconds + GRACE_S, exit=True, file=_STDERR)
            handler = previous[signal.Signals(number)]
            if callable(handler):
                if self.limits_server:
                    _limit_connection_wait(self._shutdown_seconds, handler)
                handler(number, frame)

        for number, handler in previous.items():
            if callable(handler):  # without a server's handler, keep the default one: it ends the process
                signal.signal(number, on_signal)

        def restore() -> None:
            for number, handler in previous.items():
                if signal.getsignal(number) is on_signal:
                    signal.signal(number, handler)

        return restore


def _limit_connection_wait(seconds: float, handler: object) -> None:
    """Limit how long uvicorn, whose handler this is, waits for its connections.

    A client that stops reading would block the exit: a connection with unsent data does not close. uvicorn reads this
    setting after the signal, so operators need no flag for it.
    """
    config = getattr(getattr(handler, "__self__", None), "config", None)
    if config is not None and getattr(config, "timeout_graceful_shutdown", 0) is None:
        config.timeout_graceful_shutdown = seconds


def why_no_limit() -> str | None:
    """Why uvicorn cannot be told at a signal how long to wait, or None; None too where another server serves.

    What `function_app` knows of uvicorn's signals is looked at here too. Without the limit, a connection with something
    left to send holds the process up to its hard end, unless uvicorn was started with --timeout-graceful-shutdown.
    """
    if "uvicorn" not in sys.modules:
        return None
    import inspect

    from uvicorn import Config, Server
    from uvicorn.server import HANDLED_SIGNALS

    if inspect.signature(Config).parameters["timeout_graceful_shutdown"].default is not None:
        return "uvicorn.Config has a limit of its own"
    if "timeout_graceful_shutdown" not in Server.shutdown.__code__.co_names:
        return "uvicorn.Server.shutdown looks elsewhere for its limit: use --timeout-graceful-shutdown"
    signals = inspect.unwrap(Server.capture_signals).__code__
    names = {name for code in (signals, *filter(inspect.iscode, signals.co_consts)) for name in code.co_names}
    if signal.SIGTERM not in HANDLED_SIGNALS or not {"handle_exit", "raise_signal"} <= names:
        return "uvicorn.Server takes signals in another way: use --timeout-graceful-shutdown"
    return None
