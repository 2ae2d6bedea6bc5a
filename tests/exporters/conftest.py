"""Fixtures: a spool's owner, a broker that may be killed, and senders that are stopped at the end."""

import asyncio
import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.eventhub.aio import _client_base_async

from exporters.pace import Pace
from tests.exporters.owner import Owner
from tests.exporters.sending import FAST, Pipeline, RestartableHub
from tests.kit.azurite import address, azurite, container, silent, unreachable  # noqa: F401  fixtures
from tests.kit.ports import held_port

type StartPipeline = Callable[..., Pipeline]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The spool's root, which does not exist yet."""
    return tmp_path / "spool"


@pytest.fixture
def owner(root: Path) -> Iterator[Owner]:
    owner = Owner(root)
    yield owner
    owner.close()


@pytest.fixture(scope="session")
def _hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestartableHub]:
    with held_port() as port:  # restarts use the same port
        started = RestartableHub(tmp_path_factory.mktemp("own-hub"), port)
        yield started
        started.kill()


@pytest.fixture
def own_hub(_hub: RestartableHub) -> Iterator[RestartableHub]:
    """A hub for one test alone, which may break it."""
    _hub.mend()
    yield _hub
    gc.collect()


class _FastAsyncio:
    """asyncio with short sleeps, for a client that polls every 50 ms, ten times while it connects."""

    def __getattr__(self, name: str) -> object:
        return getattr(asyncio, name)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 20)


@pytest.fixture
def pipeline(own_hub: RestartableHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StartPipeline]:
    """Make a spool and its sender on that hub: `pipeline(pace)`; with `started=False` the sender is not started."""
    monkeypatch.setattr(_client_base_async, "asyncio", _FastAsyncio())
    pipelines: list[Pipeline] = []

    def start(pace: Pace = FAST, started: bool = True, **parts: Any) -> Pipeline:
        parts = {"connect": own_hub.connect, **parts}
        pipelines.append(Pipeline(tmp_path / f"spool-{len(pipelines)}", pace=pace, **parts))
        if started:
            pipelines[-1].sender.start()
        return pipelines[-1]

    yield start
    for each in pipelines:
        each.close()
