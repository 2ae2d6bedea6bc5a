"""The simulator of Azure OpenAI as a process: its journal, its options, its end."""

import asyncio
import subprocess
import sys
from typing import Any

from openai import AsyncAzureOpenAI

from tests.dev.simulator import CHAT, KEY, Service, start, user


def test_the_journal_shows_requests_as_they_came(service: Service) -> None:
    """Method, path with query, headers and body are kept as sent, and all requests are counted."""
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


def test_many_streams_at_once(service: Service) -> None:
    """Streams run side by side, each whole."""

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
    """Pace, filter, region and any word can be set for all calls; without a key any caller is let in."""
    service = start("--first-token-ms=0", "--filter=off", "--region=Here", "--simulate=tokens=3;token-ms=0")
    body = {"model": "prod", "messages": user("Hi"), "stream": True}
    _, headers, answer = service.request("POST", CHAT, body, api_key="")
    service.process.terminate()
    service.process.communicate(timeout=60)
    assert service.process.returncode == 0
    assert (headers["x-ms-region"], answer.count(b"data: "), b"filter" in answer) == ("Here", 3 + 3, False)


def test_it_ends_with_its_parent() -> None:
    """With --parent-pid it ends when that process is gone."""
    parent = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    service = start("--parent-pid", str(parent.pid))
    assert service.process.poll() is None
    parent.communicate()
    assert service.process.communicate(timeout=60)[1] == ""
    assert service.process.returncode == 0
