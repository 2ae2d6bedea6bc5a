"""Usage that upstream did not report, in the records of calls through the proxy."""

import contextlib
import signal
from typing import Any

import pytest

from tests.kit.hub import HubReader
from tests.kit.scripts import streaming
from tests.kit.upstream import Reply, Seen
from tests.kit.wire import CHAT, STREAM, TEXT, USAGE, chat_body, client

pytestmark = pytest.mark.usefixtures("tokenizers")


def test_a_stream_without_usage_is_estimated(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """Where usage is not asked for and not sent, the record has what the texts come to, close to what they cost."""
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


def test_usage_without_content_is_estimated_too(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """PROXY_CONTENT=none: the counts are there, and nothing of what was counted."""
    server = upstream(streaming(STREAM))
    with client(proxy(server.url, PROXY_STREAM_USAGE="off", PROXY_CONTENT="none").url) as caller:
        answer = caller.chat(stream=True)
        answer.read()
    record = hub.record(answer.trace_id)
    assert record["usage_source"] == "estimated"
    assert record["usage"]["completion_tokens"] > 0
    assert (record["prompt"], record["content"], record["content_captured"]) == (None, "", False)


def test_a_stream_that_broke_off_is_estimated(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """upstream_cut: what came was generated, and is counted."""
    server = upstream(streaming(STREAM[:5]))
    with client(proxy(server.url).url) as caller:
        answer = caller.chat(stream=True)
        answer.read()
    record = hub.record(answer.trace_id)
    assert (record["status"], record["usage_source"]) == ("upstream_cut", "estimated")
    assert record["usage"]["completion_tokens"] == 3


def test_an_aborted_call_is_estimated(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """client_aborted: the client pays for what it did not wait for, and the record says about how much."""
    server = upstream(streaming(STREAM[:5], Reply.hung_up))
    with client(proxy(server.url).url) as caller:
        answer = caller.chat(stream=True)
        trace_id, received = answer.trace_id, b""
        while received != b"".join(STREAM[:5]):
            received += answer.some()
    record = hub.record(trace_id)
    assert (record["status"], record["usage_source"]) == ("client_aborted", "estimated")
    assert record["content"] == TEXT[: len("Why did the")]
    assert record["usage"]["completion_tokens"] == 3


def test_an_error_is_not_estimated(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """What upstream refused costs nothing, and is not said to cost zero."""
    server = upstream(lambda request, reply: reply.json(b'{"error":{"code":"x","message":"y"}}', 400))
    with client(proxy(server.url).url) as caller:
        answer = caller.send("POST", CHAT, chat_body())
        answer.read()
    record = hub.record(answer.trace_id)
    assert (record["usage"], record["usage_source"]) == (None, "missing")


def test_calls_cut_by_shutdown_are_estimated_in_time(upstream: Any, process: Any, hub: HubReader) -> None:
    """interrupted: twenty streams that are open at SIGTERM have their records, with usage, and the process its time."""

    async def script(request: Seen, reply: Reply) -> None:
        await streaming(STREAM[:5], Reply.end if request.header("x-ends") else Reply.hung_up)(request, reply)

    server = upstream(script)
    running = process(server.url, PROXY_SHUTDOWN_SECONDS="4")
    with client(running.url) as caller:
        caller.chat(stream=True, x_ends="yes").read()  # has the vocabulary read
    with contextlib.ExitStack() as callers:
        answers = [callers.enter_context(client(running.url)).chat(stream=True) for _ in range(20)]
        trace_ids = [answer.trace_id for answer in answers]
        for answer in answers:
            received = b""
            while received != b"".join(STREAM[:5]):
                received += answer.some()
        running.signal(signal.SIGTERM)
        running.wait_in_time(4)
    process(server.url)  # what a busy machine left no time to send, the next process does
    records = [hub.record(trace_id) for trace_id in trace_ids]
    assert {record["status"] for record in records} == {"interrupted"}
    counts = [record["usage"]["completion_tokens"] for record in records if record["usage_source"] == "estimated"]
    assert set(counts) == {3}
    assert len(counts) >= 10  # all of them, but where the machine has no time
