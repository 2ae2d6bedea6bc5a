"""Content that is not to be kept: with PROXY_CONTENT=none, or a header for one call, no word of it stays anywhere."""

import asyncio
import http.client
import json
import logging
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.kit.azure import Trace
from tests.kit.hub import HubReader, Record, wait_until
from tests.kit.proxy import KEY, on_disk
from tests.kit.upstream import Reply, Seen
from tests.kit.wire import CHAT, DONE, SAFE, Answer, client, delta, event

MARK = "planted"
NONE = {"PROXY_CONTENT": "none"}


def mark(place: str) -> str:
    """A word that tells where it leaked from."""
    return f"{MARK}-{place}"


TOOLS = [{"index": 0, "id": "1", "function": {"name": mark("tool"), "arguments": mark("arguments")}}]
MESSAGE = {
    "content": mark("content"),
    "refusal": mark("refusal"),
    "reasoning_content": mark("reasoning"),
    "tool_calls": TOOLS,
}
VERDICT = {"personally_identifiable_information": {"filtered": False, "redacted_text": mark("verdict")}}
CHAT_BODY = {
    "messages": [
        {"role": "system", "content": mark("system")},
        {"role": "user", "name": mark("name"), "content": [{"type": "text", "text": mark("part")}]},
    ],
    "tools": [{"type": "function", "function": {"name": mark("definition"), "description": mark("description")}}],
    "stop": [mark("stop")],
    "user": mark("user"),
    "metadata": {"note": mark("metadata")},
    "n": 2,
}
CHAT_ANSWER = {
    "id": "chatcmpl-1",
    "model": "gpt-4o-2024-11-20",
    "choices": [
        {"index": index, "message": MESSAGE, "finish_reason": "stop", "content_filter_results": VERDICT}
        for index in (0, 1)
    ],
    "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": VERDICT}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
}
CHUNKS = [delta({name: said}, index=index) for index in (0, 1) for name, said in MESSAGE.items()]
ERROR = {
    "error": {
        "code": "content_filter",
        "message": mark("message"),
        "param": mark("param"),
        "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {**SAFE, **VERDICT}},
    }
}
RESPONSES = "/openai/v1/responses"
RESPONSES_BODY = {"model": "gpt-4o", "instructions": mark("instructions"), "input": mark("input")}
RESPONSES_ANSWER = {
    "id": "resp-1",
    "model": "gpt-4o-2024-11-20",
    "status": "completed",
    "output": [{"type": "message", "content": [{"type": "output_text", "text": mark("output")}]}],
    "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
}
RESPONSES_STREAM = [
    event({"type": "response.output_text.delta", "output_index": 0, "delta": mark("delta")}),
    event({"type": "response.completed", "response": RESPONSES_ANSWER}),
]
COMPLETIONS = "/openai/deployments/davinci-002/completions?api-version=2024-10-21"
COMPLETIONS_ANSWER = {"model": "davinci-002", "choices": [{"index": 0, "text": mark("text"), "finish_reason": "stop"}]}


def whole(answer: object, status: int = 200) -> Any:
    async def script(request: Seen, reply: Reply) -> None:
        assert MARK.encode() in request.body
        await reply.json(json.dumps(answer).encode(), status)

    return script


def streamed(events: list[bytes], then: Callable[[Reply], Any] = Reply.end) -> Any:
    async def script(request: Seen, reply: Reply) -> None:
        assert MARK.encode() in request.body
        await reply.stream_head()
        for one in events:
            await reply.chunk(one)
        ended = then(reply)
        if ended is not None:
            await ended

    return script


def all_of(answer: Answer, events: list[bytes]) -> None:
    """Take all of these events, and no more."""
    received = b""
    while received != b"".join(events):
        more = answer.some()
        assert more, received
        received += more


def leaks(running: Any, record: Record, spool: Path) -> str:
    """All that the proxy kept of a call: its record, its spans and every file."""
    spans = running.spans.of_trace(record["trace_id"], 2)
    kept = json.dumps(record) + "".join(span.to_json() for span in spans)
    return kept + on_disk(spool)


CALLS = {
    "json": (CHAT, CHAT_BODY, whole(CHAT_ANSWER), "completed"),
    "stream": (CHAT, {**CHAT_BODY, "stream": True}, streamed([*CHUNKS, DONE]), "completed"),
    "error": (CHAT, CHAT_BODY, whole(ERROR, 400), "upstream_error"),
    "error event": (CHAT, {**CHAT_BODY, "stream": True}, streamed([*CHUNKS, event(ERROR), DONE]), "upstream_error"),
    "cut": (CHAT, {**CHAT_BODY, "stream": True}, streamed(CHUNKS, lambda reply: None), "upstream_cut"),
    "without its end": (CHAT, {**CHAT_BODY, "stream": True}, streamed(CHUNKS), "upstream_cut"),
    "no json": (CHAT, CHAT_BODY, whole(mark("string")), "upstream_error"),
    "responses": (RESPONSES, RESPONSES_BODY, whole(RESPONSES_ANSWER), "completed"),
    "responses stream": (RESPONSES, {**RESPONSES_BODY, "stream": True}, streamed(RESPONSES_STREAM), "completed"),
    "completions": (COMPLETIONS, {"prompt": [mark("prompt")]}, whole(COMPLETIONS_ANSWER), "completed"),
    "embeddings": (
        "/openai/v1/embeddings",
        {"model": "text-embedding-3-small", "input": [mark("embedded")]},
        whole({"data": [], "usage": {"prompt_tokens": 1, "total_tokens": 1}}),
        "completed",
    ),
    "image": (
        "/openai/v1/images/generations",
        {"model": "dall-e-3", "prompt": mark("image")},
        whole({"data": [{"url": "https://x.example", "revised_prompt": mark("revised")}]}),
        "completed",
    ),
    "speech": (
        "/openai/v1/audio/speech",
        {"model": "tts", "input": mark("speech"), "instructions": mark("voice")},
        whole({}),
        "completed",
    ),
    "transcription": (
        "/openai/v1/audio/transcriptions",
        {"form": mark("form")},
        whole({"text": mark("transcript")}),
        "completed",
    ),
    "another path": ("/openai/v1/files", {"purpose": mark("file")}, whole({"id": mark("id")}), "completed"),
}


def any_call(spool: Path, arrived: asyncio.Event) -> Any:
    """Answers each kind of call as it is to be; looks before that at the file of the call in flight. What is to be cut
    is cut when it has arrived: a reset discards what is still on its way."""

    def look() -> None:
        journal = "".join(path.read_text() for path in spool.rglob("*.call"))
        assert '"status":"interrupted"' in journal
        assert MARK not in journal

    async def script(request: Seen, reply: Reply) -> None:
        look()
        kind = request.header("x-kind") or ""
        await CALLS[kind][2](request, reply)
        if kind == "cut":
            await arrived.wait()
            reply.reset()

    return script


@pytest.mark.parametrize("way", ["setting", "header"])
def test_no_word_is_kept(
    upstream: Any,
    proxy: Any,
    hub: HubReader,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    way: str,
) -> None:
    """Whatever was sent, generated or complained of, however the call ended: not in record, span, file or log."""
    arrived = asyncio.Event()
    server = upstream(any_call(tmp_path, arrived))
    running = proxy(server.url, **(NONE if way == "setting" else {}))
    sent = {} if way == "setting" else {"x_proxy_content": "None"}
    trace_ids = {}
    with caplog.at_level(logging.DEBUG):
        for kind, (path, body, _, _) in CALLS.items():
            with client(running.url) as caller:
                answer = caller.send("POST", path, json.dumps(body), x_kind=kind, **sent)
                trace_ids[kind] = answer.trace_id
                if kind != "cut":
                    answer.read()
                    continue
                all_of(answer, CHUNKS)
                server.loop.call_soon_threadsafe(arrived.set)
                with pytest.raises(http.client.HTTPException):
                    answer.read()
    for kind, trace_id in trace_ids.items():
        record = hub.record(trace_id)
        assert (record["status"], record["content_captured"]) == (CALLS[kind][3], False), kind
        assert (record["prompt"], record["content"]) == (None, ""), kind
        assert MARK not in leaks(running, record, tmp_path), kind
    assert MARK not in caplog.text + "".join(capfd.readouterr())


def test_the_same_calls_are_kept_otherwise(upstream: Any, proxy: Any, hub: HubReader, tmp_path: Path) -> None:
    """Without either, the words are in the record: the test above looks in the right places."""
    running = proxy(upstream(whole(CHAT_ANSWER)).url)
    with client(running.url) as caller:
        answer = caller.send("POST", CHAT, json.dumps(CHAT_BODY), x_proxy_content="full")
        answer.read()
    record = hub.record(answer.trace_id)
    kept = leaks(running, record, tmp_path)
    places = ("system", "name", "part", "content", "refusal", "reasoning", "tool", "arguments", "stop")
    assert [place for place in places if mark(place) not in kept] == []
    assert record["content_captured"] is True


def test_a_client_that_leaves_leaves_no_word(
    upstream: Any, proxy: Any, hub: HubReader, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An aborted call's half of an answer is not kept either."""
    running = proxy(upstream(streamed(CHUNKS, Reply.hung_up)).url, **NONE)
    with client(running.url) as caller, caplog.at_level(logging.DEBUG):
        answer = caller.send("POST", CHAT, json.dumps({**CHAT_BODY, "stream": True}))
        trace_id = answer.trace_id
        all_of(answer, CHUNKS)
    record = hub.record(trace_id)
    assert (record["status"], record["usage_source"]) == ("client_aborted", "estimated")
    assert MARK not in leaks(running, record, tmp_path) + caplog.text


def test_a_killed_process_leaves_no_word(upstream: Any, process: Any, trace: Trace) -> None:
    """The interrupted record of a call without content, which the next process sends, has none either."""
    asked = asyncio.Event()

    async def script(request: Seen, reply: Reply) -> None:
        asked.set()
        await reply.hung_up()

    server = upstream(script)
    running = process(server.url)
    with client(running.url) as caller:
        headers = {"api-key": KEY, "x-proxy-content": "none", **trace.headers}
        caller.connection.request("POST", CHAT, json.dumps(CHAT_BODY), headers)
        wait_until(asked.is_set)
        running.signal(signal.SIGKILL)
        running.wait(60)
    process(server.url)
    record = trace.record()
    assert (record["status"], record["content_captured"], record["prompt"]) == ("interrupted", False, None)
    assert MARK not in json.dumps(record) + "".join(running.output)
