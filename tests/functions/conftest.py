"""A host whose worker runs the app of this repository, a scripted upstream, and a client of the host."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest

from tests.functions.host import FUNCTION_KEY, FunctionsHost
from tests.functions.upstream import Upstream
from tests.functions.worker import PATIENCE, Worker

REPOSITORY = Path(__file__).parents[2]
PRELUDE = Path(__file__).with_name("prelude.py")
SHUTDOWN_SECONDS = 2

type StartHost = Callable[..., FunctionsHost]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def environment(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Settings of a proxy whose hub is away (nothing listens on port 1) and that calls nobody else."""
    return {
        "AZURE_OPENAI_BASE_URL": upstream.url,
        "AZURE_OPENAI_KEY": "upstream-key-93ab",
        "AZURE_EVENTHUB_CONN_STR": "Endpoint=sb://127.0.0.1:1;SharedAccessKeyName=send;SharedAccessKey=aHVi;"
        "UseDevelopmentEmulator=true;EntityPath=records",
        "PROXY_SPOOL_DIR": str(tmp_path_factory.mktemp("spool")),
        "PROXY_SHUTDOWN_SECONDS": str(SHUTDOWN_SECONDS),
        "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
        "APPLICATIONINSIGHTS_SDKSTATS_DISABLED": "true",
        "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
        "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "azure_app_service",
    }


@pytest.fixture(scope="module")
def new_host(environment: dict[str, str]) -> StartHost:
    """Makes a host, still to be entered, whose worker has this environment and what is given on top."""

    def new_host(*, loop: str = "asyncio", **settings: str) -> FunctionsHost:
        return FunctionsHost(Worker({**environment, **settings}, loop=loop, prelude=PRELUDE), REPOSITORY)

    return new_host


@pytest.fixture(scope="module")
async def host(new_host: StartHost) -> AsyncIterator[FunctionsHost]:
    async with new_host() as host:
        yield host


@pytest.fixture
async def client(host: FunctionsHost) -> AsyncIterator[aiohttp.ClientSession]:
    async with new_client(host) as client:
        yield client


def new_client(host: FunctionsHost) -> aiohttp.ClientSession:
    """A client of the host that presents the function key as a header."""
    return aiohttp.ClientSession(
        host.url, headers={"x-functions-key": FUNCTION_KEY}, timeout=aiohttp.ClientTimeout(PATIENCE)
    )
