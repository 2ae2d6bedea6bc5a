"""Estimated usage in the records of calls through the proxy."""

import contextlib
import signal
from typing import Any

import pytest

from tests.kit.hub import HubReader
from tests.kit.scripts import streaming
from tests.kit.upstream import Reply, Seen
from tests.kit.wire import STREAM, USAGE, client

pytestmark = pytest.mark.usefixtures("tokenizers")


def test_a_stream_without_usage_is_estimated(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """Without usage from upstream, the record has an estimate from the texts, close to the real count."""
    server = upstream(streaming(STREAM))
    with client(proxy(server.url, PROXY_STREAM_USAGE="off").url) as caller:
        answer = caller.chat(stream=True)
        assert answer.read() == b"".join(STREAM)
    record = hub.record(answer.trace_id)
    assert record["usage_source"] == "estimated"
    prompt, completion = record["usage"]["prompt_tokens"], record["usage"]["completion_tokens"]
    assert abs(prompt - USAGE["prompt_tokens"]) <= 2
    assert abs(completion - USAGE["completion_tokens"]) <= 2
    assert record["usage"] == {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def test_calls_cut_by_shutdown_are_estimated_in_time(upstream: Any, process: Any, hub: HubReader) -> None:
    """Twenty streams that are open at SIGTERM have their records, with usage, and the process exits in time."""

    async def script(request: Seen, reply: Reply) -> None:
        await streaming(STREAM[:5], Reply.end if request.header("x-ends") else Reply.hung_up)(request, reply)

    server = upstream(script)
    running = process(server.url, PROXY_SHUTDOWN_SECONDS="4")
    with client(running.url) as caller:
        caller.chat(stream=True, x_ends="yes").read()  # loads the vocabulary
    with contextlib.ExitStack() as callers:
        answers = [callers.enter_context(client(running.url)).chat(stream=True) for _ in range(20)]
        trace_ids = [answer.trace_id for answer in answers]
        for answer in answers:
            answer.take(b"".join(STREAM[:5]))
        running.signal(signal.SIGTERM)
        running.wait_in_time(4)
    process(server.url)  # on a busy machine, the next process sends the rest
    records = [hub.record(trace_id) for trace_id in trace_ids]
    assert {record["status"] for record in records} == {"interrupted"}
    counts = [record["usage"]["completion_tokens"] for record in records if record["usage_source"] == "estimated"]
    assert set(counts) == {3}
    assert len(counts) >= 10  # all of them, except on a busy machine
