"""The consumer's progress: a bar with the lag of each partition; without a terminal, a line every ten seconds."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from analytics.consume.consumer import Counts

_REDRAW_S: Final = 0.2
_PRINT_S: Final = 10.0


@asynccontextmanager
async def shown(counts: Counts, console: Console) -> AsyncIterator[None]:
    """Show the counts as they change, and a summary at the end."""
    started = time.monotonic()
    showing = asyncio.create_task((_bars if console.is_terminal else _lines)(counts, console, started))
    try:
        yield
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)
        console.print(summary(counts, time.monotonic() - started), highlight=False, soft_wrap=True)


def summary(counts: Counts, seconds: float) -> str:
    """Totals, rate and lag in one line."""
    lag = sum(map(counts.lag, counts.ends))
    rate = counts.records / seconds if seconds else 0
    return (
        f"{counts.records:,} records ({rate:,.0f} a second), {counts.repeats:,} repeats dropped,"
        f" {counts.aside:,} set aside, lag {lag:,}"
    )


async def _bars(counts: Counts, console: Console, started: float) -> None:
    columns = (
        TextColumn("partition {task.description:>3}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f}, lag {task.fields[lag]:,}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        total = progress.add_task("all", total=0, lag=0)
        bars: dict[str, TaskID] = {}
        while True:
            for partition, end in counts.ends.items():
                if partition not in bars:
                    bars[partition] = progress.add_task(partition, total=0, lag=0)
                done = counts.positions.get(partition, -1) + 1
                progress.update(bars[partition], completed=done, total=max(end + 1, done), lag=counts.lag(partition))
            done, end = sum(counts.positions.values()), sum(counts.ends.values())
            lag = sum(map(counts.lag, counts.ends))
            progress.update(total, completed=done + len(bars), total=max(done, end) + len(bars), lag=lag)
            await asyncio.sleep(_REDRAW_S)


async def _lines(counts: Counts, console: Console, started: float) -> None:
    while True:
        await asyncio.sleep(_PRINT_S)
        console.print(summary(counts, time.monotonic() - started), highlight=False, soft_wrap=True)
