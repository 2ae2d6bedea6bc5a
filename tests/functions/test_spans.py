"""The spans of one call inside the worker, where two ASGI apps run one in the other."""

import json
import uuid

import aiohttp
import pytest

from tests.functions import chat
from tests.functions.host import FunctionsHost
from tests.functions.upstream import Upstream

pytestmark = pytest.mark.anyio


async def test_one_server_span_per_call(client: aiohttp.ClientSession, host: FunctionsHost, upstream: Upstream) -> None:
    """A call has exactly one SERVER span; its parent is the caller's span, and all else hangs below it."""
    first, second = uuid.uuid4().hex, uuid.uuid4().hex
    await chat.ask(client, upstream, chat.in_trace(first, "b7ad6b7169203331"))
    await chat.ask(client, upstream, chat.in_trace(second))
    await host.worker.wait_for(second)  # calls end one after the other: nothing of the first is still to come
    lines = [line.removeprefix("span ") for line in host.worker.lines_with("span {")]
    spans = [span for span in map(json.loads, lines) if span["trace_id"] == first]
    (server,) = [span for span in spans if span["kind"] == "SERVER"]
    assert server["parent_id"] == "b7ad6b7169203331"
    below = [span for span in spans if span is not server]
    assert [span["kind"] for span in below] == ["CLIENT"]
    assert below[0]["parent_id"] == server["span_id"]
