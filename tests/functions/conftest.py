"""A Functions host whose worker runs this repository's app, a scripted upstream, a hub, and a client."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest

from tests.functions.host import FUNCTION_KEY, FunctionsHost
from tests.functions.upstream import Upstream
from tests.functions.worker import PATIENCE, Worker
from tests.kit.hub import Broker, Record

REPOSITORY = Path(__file__).parents[2]
PRELUDE = Path(__file__).with_name("prelude.py")
SHUTDOWN_SECONDS = 2

type StartHost = Callable[..., FunctionsHost]


@pytest.fixture(scope="session")
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="session")
def new_host(upstream: Upstream, broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> StartHost:
    """Creates a host, to be entered, whose worker calls only upstream and hub; `settings` are added."""

    def new_host(*, loop: str = "asyncio", app_directory: Path = REPOSITORY, **settings: str) -> FunctionsHost:
        environment = {
            "AZURE_OPENAI_BASE_URL": upstream.url,
            "AZURE_OPENAI_KEY": "upstream-key-93ab",
            "AZURE_EVENTHUB_CONN_STR": broker.conn_str,
            "PROXY_SPOOL_DIR": str(tmp_path_factory.mktemp("spool")),
            "PROXY_SHUTDOWN_SECONDS": str(SHUTDOWN_SECONDS),
            "PYTHON_ENABLE_OPENTELEMETRY": "true",
            "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "azure_app_service",
        }
        return FunctionsHost(Worker(environment | settings, loop=loop, prelude=PRELUDE), app_directory)

    return new_host


@pytest.fixture(scope="session")
async def host(new_host: StartHost) -> AsyncIterator[FunctionsHost]:
    async with new_host() as host:
        yield host


@pytest.fixture
async def client(host: FunctionsHost) -> AsyncIterator[aiohttp.ClientSession]:
    async with new_client(host) as client:
        yield client


def new_client(host: FunctionsHost) -> aiohttp.ClientSession:
    """A client that sends the function key as a header."""
    return aiohttp.ClientSession(
        host.url, headers={"x-functions-key": FUNCTION_KEY}, timeout=aiohttp.ClientTimeout(PATIENCE)
    )


async def records_of(broker: Broker, trace_id: str) -> list[Record]:
    """The records of one trace at the hub."""
    records = await asyncio.to_thread(broker.distinct)
    return [record for record in records if record["trace_id"] == trace_id]
