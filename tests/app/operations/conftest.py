"""A fixture that makes a call of any operation through a real proxy to a scripted upstream."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.trace import SpanKind

from exporters.record import Record as SpanRecord
from tests.kit.hub import Record, checked
from tests.kit.upstream import Reply, Seen
from tests.kit.wire import AZURE_HEADERS, client

type Through = Callable[..., Record]


@pytest.fixture
def through(upstream: Any, proxy: Any) -> Through:
    """Make a call and return its record; check that every byte passes unchanged, in both directions.

    `answer` is a whole body or a list of chunks. The record is made from the call's span, as for the hub: delivery
    would take a second each time.
    """

    def call(
        path: str,
        body: Any,
        answer: bytes | list[bytes],
        content_type: str = "application/json",
        status: int = 200,
        sent_type: str = "application/json",
        **sent_headers: str,
    ) -> Record:
        async def script(request: Seen, reply: Reply) -> None:
            if isinstance(answer, bytes):
                await reply.json(answer, status, {**AZURE_HEADERS, "content-type": content_type})
                return
            await reply.stream_head(content_type, **AZURE_HEADERS)
            for piece in answer:
                await reply.chunk(piece)
            await reply.end()

        server = upstream(script)
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        running = proxy(server.url, PROXY_STREAM_USAGE="off")
        with client(running.url) as caller:
            got = caller.send("POST", path, sent, content_type=sent_type, **sent_headers)
            assert got.read() == (answer if isinstance(answer, bytes) else b"".join(answer))
        assert got.status == status
        assert got.header("content-type") == content_type
        assert [(seen.target, seen.body) for seen in server.seen] == [(path, sent)]
        (span,) = (span for span in running.spans.of_trace(got.trace_id, 2) if span.kind is SpanKind.CLIENT)
        return checked(json.loads(SpanRecord.from_span(span).to_json()))

    return call
