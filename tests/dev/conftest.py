"""The simulator of Azure OpenAI, started once."""

from collections.abc import Iterator

import pytest

from tests.dev.simulator import KEY, Service, start


@pytest.fixture(scope="session")
def running() -> Iterator[Service]:
    service = start("--key", KEY, "--token-ms", "0", "--first-token-ms", "0", "--region", "West Europe")
    yield service
    service.process.terminate()
    _, complaints = service.process.communicate(timeout=60)
    assert (service.process.returncode, complaints) == (0, "")


@pytest.fixture
def service(running: Service) -> Service:
    running.request("DELETE", "/_simulator/requests")
    return running
