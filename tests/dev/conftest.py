"""The Azure OpenAI simulator, started once, and brokers that stand in for Event Hubs, one per test."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.event_hubs.process import BrokerProcess
from tests.dev.simulator import KEY, Service, start


@pytest.fixture(scope="session")
def running() -> Iterator[Service]:
    service = start("--key", KEY, "--token-ms", "0", "--first-token-ms", "0", "--region", "West Europe")
    yield service
    service.process.terminate()
    _, stderr = service.process.communicate(timeout=60)
    assert (service.process.returncode, stderr) == (0, "")


@pytest.fixture
def service(running: Service) -> Service:
    running.request("DELETE", "/_simulator/requests")
    return running


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    """A hub of four partitions."""
    with BrokerProcess(tmp_path) as broker:
        yield broker
    gc.collect()


@pytest.fixture
def single(tmp_path: Path) -> Iterator[BrokerProcess]:
    """A hub of one partition: producers need no extra connection to name it."""
    with BrokerProcess(tmp_path, "--partitions", "1") as broker:
        yield broker
    gc.collect()
