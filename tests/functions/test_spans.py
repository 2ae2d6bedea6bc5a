"""The spans of one call inside the worker, where two ASGI apps run one in the other."""

import json

import aiohttp
import pytest

from tests.functions import chat
from tests.functions.host import FunctionsHost
from tests.functions.upstream import Upstream

pytestmark = pytest.mark.anyio


async def test_one_server_span_per_call(client: aiohttp.ClientSession, host: FunctionsHost, upstream: Upstream) -> None:
    """A call has exactly one SERVER span, its parent is the caller's span, and all else hangs below it."""
    trace_ids = ["0af7651916cd43dd8448eb211c80319c", "1bf7651916cd43dd8448eb211c80319d"]
    for trace_id in trace_ids:
        await chat.ask(client, host.url, upstream, traceparent=f"00-{trace_id}-b7ad6b7169203331-01")
    # One after the other: when the second call's span has ended, nothing of the first is still to come.
    await host.worker.line(trace_ids[1])
    lines = [line.removeprefix("span ") for line in host.worker.lines if line.startswith("span ")]
    spans = [span for span in map(json.loads, lines) if span["trace_id"] == trace_ids[0]]
    (server,) = [span for span in spans if span["kind"] == "SERVER"]
    assert server["parent_id"] == "b7ad6b7169203331"
    known = {span["span_id"] for span in spans}
    assert all(span["parent_id"] in known for span in spans if span is not server)
