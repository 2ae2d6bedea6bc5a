"""The connections of the extension's server, which the Functions host alone opens: guarded as anywhere else."""

import asyncio

import pytest
from yarl import URL

from tests.functions.host import FunctionsHost

pytestmark = pytest.mark.anyio


async def test_a_head_past_its_limit_is_refused_by_the_worker(host: FunctionsHost) -> None:
    """The extension's uvicorn, made before the first request, has the guarded connection."""
    worker = URL(host.capabilities["HttpUri"])
    reader, writer = await asyncio.open_connection(worker.host, worker.port)
    writer.write(b"GET /health/live HTTP/1.1\r\nhost: worker\r\nx: " + b"a" * 70_000)
    assert (await reader.readline()).startswith(b"HTTP/1.1 431 ")
    writer.close()
