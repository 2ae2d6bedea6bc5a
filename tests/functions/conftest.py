"""A Functions host whose worker runs this repository's app, a scripted upstream, a hub, and a client."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dev.event_hubs.process import BrokerProcess
from tests.functions.host import FUNCTION_KEY, FunctionsHost
from tests.functions.upstream import Upstream
from tests.functions.worker import PATIENCE, Worker

REPOSITORY = Path(__file__).parents[2]
PRELUDE = Path(__file__).with_name("prelude.py")
SHUTDOWN_SECONDS = 2

type StartHost = Callable[..., FunctionsHost]


@pytest.fixture(scope="session")
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    with BrokerProcess(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


@pytest.fixture(scope="session")
def new_host(upstream: Upstream, hub: BrokerProcess, tmp_path_factory: pytest.TempPathFactory) -> StartHost:
    """Creates a host, to be entered, whose worker calls only upstream and hub; `settings` are added."""

    def new_host(*, loop: str = "asyncio", app_directory: Path = REPOSITORY, **settings: str) -> FunctionsHost:
        environment = {
            "AZURE_OPENAI_BASE_URL": upstream.url,
            "AZURE_OPENAI_KEY": "upstream-key-93ab",
            "AZURE_EVENTHUB_CONN_STR": hub.connection_string,
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


async def records_of(hub: BrokerProcess, trace_id: str) -> list[dict[str, Any]]:
    """The records of one trace at the hub."""
    events = await asyncio.to_thread(hub.events)
    records = [json.loads(str(event["body"])) for event in events]
    # at-least-once delivery: consumers drop duplicates by id
    return list({record["id"]: record for record in records if record["trace_id"] == trace_id}.values())
