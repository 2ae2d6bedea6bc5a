"""The spans of a call inside the worker, where one ASGI app runs in another, as Application Insights gets them."""

import asyncio
import uuid

import pytest

from tests.functions import chat
from tests.functions.conftest import StartHost, new_client
from tests.functions.upstream import Upstream
from tests.kit.ingestion import Ingestion
from tests.kit.receiver import Receiver

pytestmark = pytest.mark.anyio


async def test_a_streamed_call_is_one_tree_of_spans(new_host: StartHost, upstream: Upstream) -> None:
    """One request below the caller's span, one dependency below that, and the events; nothing from the extension's
    server or the worker. The worker connects to no other resource."""
    ingestion, outside, trace_id = Ingestion(), Receiver(), uuid.uuid4().hex
    settings = {
        "APPLICATIONINSIGHTS_CONNECTION_STRING": ingestion.conn_str,
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "OTEL_METRIC_EXPORT_INTERVAL": "300",
        "HTTP_PROXY": outside.url,
        "HTTPS_PROXY": outside.url,
        "NO_PROXY": "127.0.0.1",
    }
    async with new_host(**settings) as host, new_client(host) as client:
        async with chat.stream(client, upstream, chat.in_trace(trace_id, "b7ad6b7169203331")) as stream:
            for event in chat.EVENTS:
                await stream.pass_on(event)
            await stream.end()
        found = await asyncio.to_thread(ingestion.trace, trace_id)
        await asyncio.to_thread(ingestion.wait_for, lambda: ingestion.metrics("gen_ai.client.operation.duration"))
    ingestion.close()
    outside.close()
    assert outside.received == []
    assert sorted(envelope.kind for envelope in found) == [
        *["MessageData"] * 4,
        "RemoteDependencyData",
        "RequestData",
    ]
    (request,) = [envelope for envelope in found if envelope.kind == "RequestData"]
    (dependency,) = [envelope for envelope in found if envelope.kind == "RemoteDependencyData"]
    assert request.parent_id == "b7ad6b7169203331"
    assert dependency.parent_id == request.base["id"]
    assert request.base["name"] == "POST /openai/deployments/{}/chat/completions"
    assert ingestion.envelopes("RequestData", "RemoteDependencyData") == [dependency, request]
    assert {(e.metric or "").partition(".")[0] for e in ingestion.envelopes("MetricData")} == {"gen_ai", "proxy"}
