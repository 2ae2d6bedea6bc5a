"""What the tests run against: a real broker, scripted upstreams, and proxies."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.kit.azure import Trace, simulator
from tests.kit.hub import Broker, HubReader
from tests.kit.ingestion import Ingestion
from tests.kit.otlp import Collector
from tests.kit.ports import held_port
from tests.kit.proxy import KEY, ProxyProcess, ProxyThread, closing_all
from tests.kit.upstream import Script, ScriptedUpstream

type StartUpstream = Callable[[Script], ScriptedUpstream]
type StartProxy = Callable[..., ProxyThread]
type StartProcess = Callable[..., ProxyProcess]

# no deadline: the machine may be busy. The same examples each time, so that a failure points at the change;
# --hypothesis-profile=searching tries others
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("searching", unhurried)
settings.register_profile("repeated", unhurried, derandomize=True, database=None)
settings.load_profile("repeated")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Keep binary values out of test ids: a compressed one may hold the time, and workers would collect other tests."""
    if isinstance(val, bytes) and not (val.isascii() and val.decode("ascii").isprintable()):
        return argname
    return None


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One broker for all tests that do not disturb it."""
    started = Broker(tmp_path_factory.mktemp("hub"))
    yield started
    started.close()


@pytest.fixture(scope="session")
def hub(broker: Broker) -> Iterator[HubReader]:
    """Reads what arrives at that broker."""
    reader = HubReader(broker.conn_str)
    yield reader
    reader.close()


@pytest.fixture
def upstream() -> Iterator[StartUpstream]:
    """Start an upstream that runs a script; an exception in the script fails the test."""
    started: list[ScriptedUpstream] = []

    def start(script: Script) -> ScriptedUpstream:
        server = ScriptedUpstream(script)
        server.__enter__()
        started.append(server)
        return server

    yield start
    for server in started:
        server.__exit__()
    for server in started:
        assert not server.failures, server.failures


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A reserved port of 127.0.0.1 on which nobody listens."""
    with held_port() as port:
        yield port


@pytest.fixture
def unreachable_hub(dead_port: int) -> str:
    """The connection string of a hub on a port on which nobody listens."""
    place = f"Endpoint=sb://localhost:{dead_port};UseDevelopmentEmulator=true;EntityPath=records"
    return f"{place};SharedAccessKeyName=send;SharedAccessKey=hub-secret"


@pytest.fixture(scope="session")
def azure() -> Iterator[str]:
    """The URL of the Azure OpenAI simulator, for tests that need more than a script."""
    with simulator() as url:
        yield url


@pytest.fixture
def trace(hub: HubReader) -> Trace:
    """A trace for a call, by which its record is found."""
    return Trace(hub)


def environ(upstream_url: str, conn_str: str, spool: Path, **more: str) -> dict[str, str]:
    """The environment of a proxy under test."""
    return {
        "AZURE_OPENAI_BASE_URL": upstream_url,
        "AZURE_OPENAI_KEY": "upstream-key-0",
        "AZURE_EVENTHUB_CONN_STR": conn_str,
        "PROXY_CLIENT_KEYS": KEY,
        "PROXY_SPOOL_DIR": str(spool),
        **more,
    }


@pytest.fixture
def proxy(broker: Broker, tmp_path: Path) -> Iterator[StartProxy]:
    """Start a proxy in a thread: `proxy(upstream_url, NAME="value")`."""
    with closing_all() as started:

        def start(upstream_url: str, conn_str: str = broker.conn_str, **more: str) -> ProxyThread:
            running = ProxyThread(environ(upstream_url, conn_str, tmp_path / "spool", **more))
            started.append(running)
            return running

        yield start


@pytest.fixture
def process(broker: Broker, tmp_path: Path) -> Iterator[StartProcess]:
    """Start a proxy as a process of its own: `process(upstream_url, NAME="value")`."""
    with closing_all() as started:

        def start(upstream_url: str, conn_str: str = broker.conn_str, *arguments: str, **more: str) -> ProxyProcess:
            running = ProxyProcess(environ(upstream_url, conn_str, tmp_path / "spool", **more), *arguments)
            started.append(running)
            return running.wait_started()

        yield start


@pytest.fixture(scope="module")
def ingestion() -> Iterator[Ingestion]:
    """What Application Insights is sent."""
    receiver = Ingestion()
    yield receiver
    receiver.close()


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """What an OTLP collector is sent."""
    receiver = Collector()
    yield receiver
    receiver.close()
