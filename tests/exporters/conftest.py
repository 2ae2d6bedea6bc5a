"""Fixtures of the sender's tests: a broker that may be killed, and senders that are stopped at the end."""

import asyncio
import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.eventhub.aio import _client_base_async

from exporters.pace import Pace
from tests.exporters.sending import FAST, HubInReach, Line
from tests.kit.azurite import address, azurite, container, silent, unreachable  # noqa: F401  fixtures
from tests.kit.ports import held_port

type StartLine = Callable[..., Line]


@pytest.fixture(scope="session")
def _hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubInReach]:
    with held_port() as port:  # it is started there again and again
        started = HubInReach(tmp_path_factory.mktemp("own-hub"), port)
        yield started
        started.kill()


@pytest.fixture
def own_hub(_hub: HubInReach) -> Iterator[HubInReach]:
    """A hub that a test has to itself, to be broken."""
    _hub.mend()
    yield _hub
    gc.collect()


class _Brisk:
    """asyncio, for a module that looks every 50 ms for what comes at once, and ten times in making a connection."""

    def __getattr__(self, name: str) -> object:
        return getattr(asyncio, name)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 20)


@pytest.fixture
def line(own_hub: HubInReach, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StartLine]:
    """A spool and its sender on that hub: `line(pace)`. The sender is yet to be started if `started` is False."""
    monkeypatch.setattr(_client_base_async, "asyncio", _Brisk())
    lines: list[Line] = []

    def start(pace: Pace = FAST, started: bool = True, **parts: Any) -> Line:
        parts = {"connect": own_hub.connect, **parts}
        lines.append(Line(tmp_path / f"spool-{len(lines)}", pace=pace, **parts))
        if started:
            lines[-1].sender.start()
        return lines[-1]

    yield start
    for each in lines:
        each.close()
