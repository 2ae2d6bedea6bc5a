"""Lone surrogates: valid in JSON, not in UTF-8."""

import json
from typing import Any

import pytest

from tests.kit.hub import HubReader
from tests.kit.scripts import streaming
from tests.kit.wire import client, delta, event


@pytest.mark.parametrize("streamed", [False, True])
def test_a_lone_surrogate_reaches_client_and_record(upstream: Any, proxy: Any, hub: HubReader, streamed: bool) -> None:
    """With a lone surrogate in every text of an answer, the bytes reach the client and the record the hub."""
    bad = "\ud800"
    call = {"index": 0, "id": "call_1", "function": {"name": "f", "arguments": bad}}
    output = {"content": bad, "tool_calls": [call]}
    verdict = {"hate": {"severity": bad}}
    choice = {"index": 0, "finish_reason": bad, "message": output, "content_filter_results": verdict}
    parts = [
        event(
            json.dumps({"choices": [{**choice, "delta": output}], "model": "m", "error": {"message": bad, "code": bad}})
        ),
        delta({}, "stop", index=1),
        event("[DONE]"),
    ]
    body = json.dumps({"choices": [choice, {**choice, "index": 1}], "model": "m"}).encode()

    server = upstream(streaming(parts) if streamed else lambda request, reply: reply.json(body))
    with client(proxy(server.url).url) as caller:
        answer = caller.chat(stream=streamed)
        assert answer.read() == (b"".join(parts) if streamed else body)
    record = hub.record(answer.trace_id)
    assert record["tool_calls"][0]["id"] == "call_1"
    assert record["http_status"] == 200
