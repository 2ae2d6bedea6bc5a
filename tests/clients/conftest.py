"""Unmodified published clients, a proxy process, and the simulator behind it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.routes import Routes
from tests.conftest import environ
from tests.kit import npm
from tests.kit.azure import Trace
from tests.kit.hub import Broker
from tests.kit.proxy import ProxyProcess

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def running(azure: str, broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    """A proxy in front of the simulator."""
    spool = tmp_path_factory.mktemp("clients") / "spool"
    process = ProxyProcess(environ(azure, broker.conn_str, spool))
    try:
        yield process.wait_started()
    finally:
        process.close()


@pytest.fixture(scope="session")
def scripts() -> Path:
    """The directory of the JavaScript clients and of the scripts that use them; skips without Node or npm."""
    with npm.needed_for("the JavaScript clients"):
        clients = npm.installed(HERE)
    for script in [
        *HERE.glob("*.mjs"),
        *HERE.glob("programs/*.mjs"),
    ]:  # Node resolves imports relative to the importing file
        shutil.copy(script, clients)
    return clients


@pytest.fixture
def routes(azure: str, running: ProxyProcess, trace: Trace) -> Routes:
    """The two routes to the simulator: direct, and through the proxy."""
    return Routes(azure, azure, running.url, trace)
