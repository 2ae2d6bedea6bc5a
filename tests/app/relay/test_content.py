"""Content capture switched off, by PROXY_CONTENT=none or a header for one call: no content is stored anywhere."""

import asyncio
import http.client
import json
import logging
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.kit.azure import Trace
from tests.kit.hub import HubReader, Record, wait_until
from tests.kit.proxy import KEY, on_disk
from tests.kit.scripts import streaming
from tests.kit.upstream import Reply, Script, Seen
from tests.kit.wire import CHAT, DONE, SAFE, client, delta, event

MARK = "planted"
NONE = {"PROXY_CONTENT": "none"}


def mark(place: str) -> str:
    """A marker that names the place it leaked from."""
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
CHUNKS = [delta({name: output}, index=index) for index in (0, 1) for name, output in MESSAGE.items()]
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


def whole(answer: object, status: int = 200) -> Script:
    return lambda request, reply: reply.json(json.dumps(answer).encode(), status)


def stored(running: Any, record: Record, spool: Path) -> str:
    """All that the proxy stored of a call: its record, its spans and every file."""
    spans = running.spans.of_trace(record["trace_id"], 2)
    kept = json.dumps(record) + "".join(span.to_json() for span in spans)
    return kept + on_disk(spool)


CALLS = {
    "json": (CHAT, CHAT_BODY, whole(CHAT_ANSWER), "completed"),
    "stream": (CHAT, {**CHAT_BODY, "stream": True}, streaming([*CHUNKS, DONE]), "completed"),
    "error": (CHAT, CHAT_BODY, whole(ERROR, 400), "upstream_error"),
    "error event": (CHAT, {**CHAT_BODY, "stream": True}, streaming([*CHUNKS, event(ERROR), DONE]), "upstream_error"),
    "cut": (CHAT, {**CHAT_BODY, "stream": True}, streaming(CHUNKS, lambda reply: asyncio.sleep(0)), "upstream_cut"),
    "without its end": (CHAT, {**CHAT_BODY, "stream": True}, streaming(CHUNKS), "upstream_cut"),
    "no json": (CHAT, CHAT_BODY, whole(mark("string")), "upstream_error"),
    "responses": (RESPONSES, RESPONSES_BODY, whole(RESPONSES_ANSWER), "completed"),
    "responses stream": (RESPONSES, {**RESPONSES_BODY, "stream": True}, streaming(RESPONSES_STREAM), "completed"),
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
        lambda request, reply: reply.json(b"sound", headers={"content-type": "audio/mpeg"}),
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
    """Responds to each kind of call, after a look at its file in the journal. It resets the connection of a call to
    cut once the events have `arrived`: a reset discards what is still in flight."""

    def check_journal() -> None:
        journal = "".join(path.read_text() for path in spool.rglob("*.call"))
        assert '"status":"interrupted"' in journal
        assert MARK not in journal

    async def script(request: Seen, reply: Reply) -> None:
        assert MARK.encode() in request.body
        check_journal()
        kind = request.header("x-kind") or ""
        await CALLS[kind][2](request, reply)
        if kind == "cut":
            await arrived.wait()
            reply.reset()

    return script


@pytest.mark.parametrize("way", ["setting", "header"])
def test_no_content_is_stored(
    upstream: Any,
    proxy: Any,
    hub: HubReader,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    way: str,
) -> None:
    """No request, output or error text is in a record, span, file or log, however the call ended."""
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
                answer.take(b"".join(CHUNKS))
                server.loop.call_soon_threadsafe(arrived.set)
                with pytest.raises(http.client.HTTPException):
                    answer.read()
    for kind, trace_id in trace_ids.items():
        record = hub.record(trace_id)
        assert (record["status"], record["content_captured"]) == (CALLS[kind][3], False), kind
        assert (record["prompt"], record["content"]) == (None, ""), kind
        assert MARK not in stored(running, record, tmp_path), kind
    assert MARK not in caplog.text + "".join(capfd.readouterr())


def test_content_is_stored_by_default(upstream: Any, proxy: Any, hub: HubReader, tmp_path: Path) -> None:
    """With content capture on, the record has the content: the test above looks in the right places."""
    running = proxy(upstream(whole(CHAT_ANSWER)).url)
    with client(running.url) as caller:
        answer = caller.send("POST", CHAT, json.dumps(CHAT_BODY), x_proxy_content="full")
        answer.read()
    record = hub.record(answer.trace_id)
    kept = stored(running, record, tmp_path)
    places = ("system", "name", "part", "content", "refusal", "reasoning", "tool", "arguments", "stop")
    assert [place for place in places if mark(place) not in kept] == []
    assert record["content_captured"] is True


def test_an_aborted_call_stores_no_content(
    upstream: Any, proxy: Any, hub: HubReader, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The partial answer of an aborted call is counted for usage, but not stored."""
    running = proxy(upstream(streaming(CHUNKS, Reply.hung_up)).url, **NONE)
    with client(running.url) as caller, caplog.at_level(logging.DEBUG):
        answer = caller.send("POST", CHAT, json.dumps({**CHAT_BODY, "stream": True}))
        trace_id = answer.trace_id
        answer.take(b"".join(CHUNKS))
    record = hub.record(trace_id)
    assert (record["status"], record["usage_source"]) == ("client_aborted", "estimated")
    assert MARK not in stored(running, record, tmp_path) + caplog.text


def test_a_killed_process_stores_no_content(upstream: Any, process: Any, trace: Trace) -> None:
    """The record of an interrupted call, which the next process sends, has no content either."""
    requested = asyncio.Event()

    async def script(request: Seen, reply: Reply) -> None:
        requested.set()
        await reply.hung_up()

    server = upstream(script)
    running = process(server.url)
    with client(running.url) as caller:
        headers = {"api-key": KEY, "x-proxy-content": "none", **trace.headers}
        caller.connection.request("POST", CHAT, json.dumps(CHAT_BODY), headers)
        wait_until(requested.is_set)
        running.signal(signal.SIGKILL)
        running.wait(60)
    process(server.url)
    record = trace.record()
    assert (record["status"], record["content_captured"], record["prompt"]) == ("interrupted", False, None)
    assert MARK not in json.dumps(record) + "".join(running.output)
