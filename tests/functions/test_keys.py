"""Function keys: what needs one, and that none goes further than the host's check."""

import asyncio
import uuid
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from tests.functions import chat
from tests.functions.conftest import StartHost, new_client
from tests.functions.host import FUNCTION_KEY, FunctionsHost
from tests.functions.upstream import Upstream
from tests.functions.worker import PATIENCE
from tests.kit.hub import Broker

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health/live", 200),
        ("POST", "/health/live", 401),
        ("POST", chat.PATH + chat.QUERY, 401),
        ("GET", "/openai/models", 401),
        ("GET", "/", 401),
    ],
)
async def test_only_get_health_needs_no_key(host: FunctionsHost, method: str, path: str, status: int) -> None:
    """Without a function key the host forwards only GET requests to /health."""
    async with aiohttp.request(method, host.url.join(URL(path))) as answer:
        assert answer.status == status


@pytest.mark.parametrize("name", ["code", "Code", "c%6Fde"])
async def test_upstream_sees_neither_key_nor_invocation_id(
    client: aiohttp.ClientSession, host: FunctionsHost, upstream: Upstream, name: str
) -> None:
    """A key is removed from the query, however it is spelt, and the rest of the query is unchanged."""
    query = f"?{name}={FUNCTION_KEY}&api-version=2024-10-21&x=%20a+b"
    url = URL(f"{host.url}".rstrip("/") + chat.PATH + query, encoded=True)
    call = asyncio.create_task(client.post(url, data=chat.QUESTION, headers=chat.JSON))
    exchange = await upstream.next()
    await exchange.answer(chat.ANSWER)
    (await call).close()
    assert exchange.path_qs == chat.PATH + "?api-version=2024-10-21&x=%20a+b"
    assert not [value for value in exchange.headers.values() if FUNCTION_KEY in value]
    assert "x-ms-invocation-id" not in exchange.headers


async def test_no_key_is_written_anywhere(
    new_host: StartHost, upstream: Upstream, broker: Broker, tmp_path: Path
) -> None:
    """No log line, span, output, spool or record contains a function key, however a call ends."""
    trace_id = uuid.uuid4().hex
    settings = {"PROXY_SPOOL_DIR": str(tmp_path), "PROXY_SHUTDOWN_SECONDS": str(PATIENCE)}
    async with new_host(**settings) as host, new_client(host) as client:
        await chat.ask(client, upstream, chat.in_trace(trace_id))
        for path in ("/fail", "/fail/midway", "/elsewhere", "/health/live"):
            async with client.get(path, params={"code": FUNCTION_KEY}) as answer:
                with suppress(aiohttp.ClientPayloadError):
                    await answer.read()
        host.worker.process.terminate()
        await host.worker.exit_code()
    written = "\n".join(host.worker.lines)
    assert "Received HTTP request for invocation" in written
    assert "RuntimeError" in written
    assert '"kind": "SERVER"' in written
    assert FUNCTION_KEY not in written
    records = "\n".join(str(event["body"]) for event in await asyncio.to_thread(broker.events))
    assert trace_id in records
    assert FUNCTION_KEY not in records
    assert FUNCTION_KEY.encode() not in b"".join(file.read_bytes() for file in files(tmp_path))


def files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]
