"""The Azure OpenAI simulator as a process: its journal, options and exit."""

import asyncio
import subprocess
import sys
from typing import Any

from openai import AsyncAzureOpenAI

from tests.dev.simulator import CHAT, KEY, Service, start, user


def test_the_journal_keeps_requests_as_sent(service: Service) -> None:
    """Method, path with query, headers and body are kept unchanged, and all requests are counted."""
    path = "/openai/deployments/a%20b/chat/completions?api-version=2024-10-21&x=%2F"
    body = '{ "messages":[{"role":"user","content":"Grüße"}] }'
    service.request("POST", path, body.encode(), x_mine="yes")
    seen = service.seen()
    [request] = seen["requests"]
    assert (seen["total"], request["method"], request["path"]) == (1, "POST", path)
    assert (request["body"], request["headers"]["x-mine"]) == (body, "yes")
    assert (request["status"], request["outcome"]) == (200, "completed")
    service.request("DELETE", "/_simulator/requests")
    assert service.seen() == {"total": 0, "requests": []}


def test_concurrent_streams_are_complete(service: Service) -> None:
    """20 concurrent streams are each complete."""

    async def read(client: AsyncAzureOpenAI, number: int) -> int:
        messages: Any = user(f"Stream {number}")
        stream = await client.chat.completions.create(
            model="prod", messages=messages, stream=True, extra_headers={"x-simulate": "tokens=100"}
        )
        return len([chunk async for chunk in stream if chunk.choices and chunk.choices[0].delta.content])

    async def read_all() -> list[int]:
        async with AsyncAzureOpenAI(
            azure_endpoint=service.url, api_key=KEY, api_version="2024-10-21", max_retries=0
        ) as client:
            return await asyncio.gather(*(read(client, number) for number in range(20)))

    assert asyncio.run(read_all()) == [100] * 20


def test_defaults_come_from_the_command_line() -> None:
    """Pace, filter, region and any word can be set for all calls; without a key any caller is admitted."""
    service = start("--first-token-ms=0", "--filter=off", "--region=Here", "--simulate=tokens=3;token-ms=0")
    body = {"model": "prod", "messages": user("Hi"), "stream": True}
    _, headers, response = service.request("POST", CHAT, body, api_key="")
    service.process.terminate()
    service.process.communicate(timeout=60)
    assert service.process.returncode == 0
    assert (headers["x-ms-region"], response.count(b"data: "), b"filter" in response) == ("Here", 3 + 3, False)
    assert b'"role"' in response.partition(b"\n\n")[0]


def test_it_exits_with_its_parent() -> None:
    """With --parent-pid it exits when that process does."""
    parent = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    service = start("--parent-pid", str(parent.pid))
    assert service.process.poll() is None
    parent.communicate()
    assert service.process.communicate(timeout=60)[1] == ""
    assert service.process.returncode == 0
