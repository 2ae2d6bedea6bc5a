"""Redaction of calls through the proxy: no match of PROXY_REDACT is in a record, span, file or log."""

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app.answer.redact import REDACTED, Redactor
from otel.call import Call
from tests.app.answer.secrets import MARK, PATTERNS
from tests.kit.hub import HubReader, wait_until
from tests.kit.proxy import on_disk
from tests.kit.scripts import streaming
from tests.kit.upstream import Reply, Seen
from tests.kit.wire import CHAT, DONE, chat_json, client, delta

SAID: list[dict[str, Any]] = [
    {"content": f"c-{MARK}-0"},
    {"refusal": f"r-{MARK}-0"},
    {"reasoning_content": f"t-{MARK}-0"},
    {"tool_calls": [{"index": 0, "id": "1", "function": {"name": "f", "arguments": f'{{"a":"{MARK}"}}'}}]},
]

STREAM = [*(delta(part, index=index) for index in (0, 1) for part in SAID), delta({}, "stop"), DONE]

BODY = {
    "messages": [{"role": "system", "content": MARK}, {"role": "user", "content": [{"type": "text", "text": MARK}]}],
    "stop": [MARK],
    "stream": True,
}


@pytest.fixture(autouse=True)
def _unhurried_redactor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives redaction more than its second, for slow machines."""
    monkeypatch.setattr("app.main.Redactor", partial(Redactor, call_s=30.0))


def everything(running: Any, trace_id: str, spool: Path) -> str:
    """All that the proxy stores of a trace."""
    spans = "".join(span.to_json() for span in running.spans.of_trace(trace_id, 2))
    return spans + on_disk(spool)


def test_a_stream_passes_unchanged_and_its_record_is_redacted(
    upstream: Any, proxy: Any, hub: HubReader, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The client gets every byte; record, span, spool and log have only the text around the secret."""
    server = upstream(streaming(STREAM))
    running = proxy(server.url, PROXY_REDACT=PATTERNS)
    with client(running.url) as caller, caplog.at_level(logging.DEBUG):
        answer = caller.send("POST", CHAT, json.dumps(BODY))
        assert answer.read() == b"".join(STREAM)
    assert MARK.encode() in server.seen[0].body
    record = hub.record(answer.trace_id)
    assert [message["content"] for message in record["prompt"]] == [REDACTED, [{"type": "text", "text": REDACTED}]]
    assert record["content"] == f"c-{REDACTED}-0"
    assert record["refusal"] == f"r-{REDACTED}-0"
    assert record["reasoning"] == f"t-{REDACTED}-0"
    assert record["tool_calls"][0]["arguments"] == f'{{"a":"{REDACTED}"}}'
    assert record["choices"][1]["content"] == f"c-{REDACTED}-0"
    assert record["content_captured"] is True
    kept = everything(running, answer.trace_id, tmp_path)
    assert REDACTED in kept
    assert MARK not in kept + json.dumps(record) + caplog.text


def test_error_messages_are_redacted(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """The message of upstream's error is redacted in the record; the client gets it unchanged."""
    body = json.dumps({"error": {"code": "bad", "message": f"cannot read {MARK}"}}).encode()
    running = proxy(upstream(lambda request, reply: reply.json(body, 400)).url, PROXY_REDACT=PATTERNS)
    with client(running.url) as caller:
        answer = caller.chat()
        assert answer.read() == body
    assert hub.record(answer.trace_id)["error"] == {"code": "bad", "message": f"cannot read {REDACTED}"}


def test_a_call_in_flight_stores_no_prompt(upstream: Any, proxy: Any, hub: HubReader, tmp_path: Path) -> None:
    """The journal entry of a call in flight has its id and trace, but no content."""
    kept: list[str] = []

    def look() -> None:
        kept.extend(path.read_text() for path in tmp_path.rglob("*.call"))

    async def script(request: Seen, reply: Reply) -> None:
        look()
        await reply.json(chat_json())

    running = proxy(upstream(script).url, PROXY_REDACT=PATTERNS)
    with client(running.url) as caller:
        answer = caller.send("POST", CHAT, json.dumps({**BODY, "stream": False}))
        answer.read()
    (line,) = kept
    record = json.loads(line)
    assert (record["trace_id"], record["prompt"], record["content_captured"]) == (answer.trace_id, None, False)
    assert MARK not in line


def test_a_stream_does_not_wait_for_redaction(
    upstream: Any, proxy: Any, hub: HubReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client has every byte before redaction is done; the response ends after the record is made."""
    started, may_go = asyncio.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []
    redact: Callable[..., Any] = Redactor.redact

    async def held(self: Redactor, call: Call, hurry: bool) -> bool:
        loops.append(asyncio.get_running_loop())
        started.set()
        await may_go.wait()
        done: bool = await redact(self, call, hurry)
        return done

    monkeypatch.setattr(Redactor, "redact", held)
    running = proxy(upstream(streaming(STREAM)).url, PROXY_REDACT=PATTERNS)
    with client(running.url) as caller:
        answer = caller.send("POST", CHAT, json.dumps(BODY))
        answer.take(b"".join(STREAM))
        wait_until(started.is_set)
        assert not any(span.kind.name == "CLIENT" for span in running.spans.ended)
        loops[0].call_soon_threadsafe(may_go.set)
        assert answer.read() == b""
    assert hub.record(answer.trace_id)["status"] == "completed"


def test_the_record_is_on_disk_before_the_response_ends(
    upstream: Any, proxy: Any, tmp_path: Path, dead_port: int
) -> None:
    """Once the client sees the end of a stream, the redacted record survives a killed process."""
    nowhere = (
        f"Endpoint=sb://localhost:{dead_port};SharedAccessKeyName=x;SharedAccessKey=x;"
        "UseDevelopmentEmulator=true;EntityPath=h"
    )

    running = proxy(upstream(streaming(STREAM)).url, nowhere, PROXY_REDACT=PATTERNS, PROXY_SHUTDOWN_SECONDS="1")
    with client(running.url) as caller:
        answer = caller.send("POST", CHAT, json.dumps(BODY))
        answer.read()
        lines = on_disk(tmp_path).splitlines()
    (record,) = (json.loads(line) for line in lines)
    assert (record["trace_id"], record["status"]) == (answer.trace_id, "completed")
    assert record["content"] == f"c-{REDACTED}-0"


@pytest.mark.parametrize("way", ["fails", "hangs"])
def test_content_is_not_recorded_if_redaction_fails(
    upstream: Any,
    proxy: Any,
    hub: HubReader,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    way: str,
) -> None:
    """If redaction fails or hangs, the record has no content and says so; log and response are not affected."""
    done = threading.Event()

    def bad(*_: object) -> None:
        if way == "fails":
            raise RuntimeError(MARK)
        done.wait(60)

    monkeypatch.setattr("app.answer.redact._Search.redacted", bad)
    if way == "hangs":
        monkeypatch.setattr("app.main.Redactor", partial(Redactor, call_s=0.1))
    running = proxy(upstream(lambda request, reply: reply.json(chat_json(MARK))).url, PROXY_REDACT=PATTERNS)
    with client(running.url) as caller:
        answer = caller.send("POST", CHAT, json.dumps({**BODY, "stream": False}))
        assert answer.read() == chat_json(MARK)
    record = hub.record(answer.trace_id)
    done.set()
    assert (record["content_captured"], record["prompt"], record["content"]) == (False, None, "")
    assert record["usage_source"] == "reported"
    assert MARK not in everything(running, answer.trace_id, tmp_path) + json.dumps(record) + caplog.text
    assert ("RuntimeError" in caplog.text) == (way == "fails")


def test_a_disconnect_during_redaction_leaves_the_call_completed(
    upstream: Any, proxy: Any, hub: HubReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients disconnect at [DONE]: a call whose last byte was sent stays completed while it is being redacted."""
    slow: Callable[..., Any] = Redactor.redact

    async def held(self: Redactor, call: Call, hurry: bool) -> bool:
        started.set()
        await asyncio.sleep(0.2)  # long enough for the server to notice the disconnect
        done: bool = await slow(self, call, hurry)
        return done

    stream = [delta({"content": MARK}), DONE]
    started = asyncio.Event()
    monkeypatch.setattr(Redactor, "redact", held)
    running = proxy(upstream(streaming(stream)).url, PROXY_REDACT=PATTERNS)
    with client(running.url) as caller:
        answer = caller.chat(stream=True)
        trace_id = answer.trace_id
        answer.take(b"".join(stream))
        wait_until(started.is_set)
    record = hub.record(trace_id)
    assert (record["status"], record["content"]) == ("completed", REDACTED)
