"""PROXY_CONTENT=filtered: content is stored only of calls that a content filter flagged or blocked."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.operations.content_filter import is_flagged
from otel.call import Answer, Call, Choice
from tests.kit.hub import HubReader
from tests.kit.proxy import on_disk
from tests.kit.scripts import streaming
from tests.kit.upstream import Reply, Seen
from tests.kit.wire import CHAT, DONE, SAFE, client, delta, event

MARK = "planted"
LOW = {**SAFE, "violence": {"filtered": False, "severity": "low"}}
BLOCKED = {**SAFE, "violence": {"filtered": True, "severity": "high"}}
JAILBREAK = {"jailbreak": {"detected": True, "filtered": False}}
HARMLESS = {**SAFE, "jailbreak": {"detected": False, "filtered": False}, "error": {"code": "content_filter_error"}}
ERROR = {"error": {"code": "content_filter", "message": MARK, "innererror": {"content_filter_result": BLOCKED}}}


def chat(verdict: object = SAFE, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"content": MARK}, "finish_reason": "stop", "content_filter_results": verdict}
    return {"id": "c", "model": "gpt-4o", "choices": [{**choice, **more}]}


def streamed(verdict: object) -> list[bytes]:
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "content_filter_results": verdict}]}
    return [delta({"content": MARK}), event(end), DONE]


def check_journal(spool: Path) -> None:
    assert MARK not in "".join(path.read_text() for path in spool.rglob("*.call"))


CALLS: dict[str, tuple[Any, int, bool]] = {
    "safe": (chat(), 200, False),
    "harmless": (chat(HARMLESS), 200, False),
    "without a verdict": (chat({}), 200, False),
    "low": (chat(LOW), 200, True),
    "prompt": (chat() | {"prompt_filter_results": [{"content_filter_results": JAILBREAK}]}, 200, True),
    "cut off": (chat(finish_reason="content_filter"), 200, True),
    "blocked": (ERROR, 400, True),
    "another error": ({"error": {"code": "x", "message": MARK}}, 400, False),
    "safe stream": (streamed(SAFE), 200, False),
    "flagged stream": (streamed(LOW), 200, True),
    "error in a stream": ([delta({"content": MARK}), event(ERROR), DONE], 200, True),
}


@pytest.mark.parametrize("redact", ["", '["secret"]'])
def test_content_of_flagged_calls_is_stored(
    upstream: Any, proxy: Any, hub: HubReader, tmp_path: Path, redact: str
) -> None:
    """The others' is in no record, span or file, nor is any in the journal; a flagged call's is redacted as ever."""

    async def script(request: Seen, reply: Reply) -> None:
        check_journal(tmp_path)
        answer, status, _ = CALLS[request.header("x-kind") or ""]
        if isinstance(answer, list):
            await streaming(answer)(request, reply)
        else:
            await reply.json(json.dumps(answer).encode(), status)

    running = proxy(upstream(script).url, PROXY_CONTENT="filtered", PROXY_REDACT=redact)
    with client(running.url) as caller:
        for kind, (answer, _, flagged) in CALLS.items():
            body = {"messages": [{"role": "user", "content": f"{MARK} secret"}], "user": MARK}
            sent = caller.send("POST", CHAT, json.dumps({**body, "stream": isinstance(answer, list)}), x_kind=kind)
            sent.read()
            record = hub.record(sent.trace_id)
            assert record["content_captured"] is flagged, kind
            if not flagged:
                kept = "".join(span.to_json() for span in running.spans.of_trace(sent.trace_id, 2))
                assert MARK not in json.dumps(record) + kept, kind
                continue
            (message,) = record["prompt"]
            assert message["content"] == f"{MARK} {'[redacted]' if redact else 'secret'}", kind
            assert record["request"]["user"] == MARK
            assert MARK in (record["content"] or record["error"]["message"])
    assert not on_disk(tmp_path).count(f"{MARK} secret") or not redact


def test_a_clients_word_still_turns_content_off(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """A flagged call with `x-proxy-content: none` has no content."""

    async def script(request: Seen, reply: Reply) -> None:
        await reply.json(json.dumps(ERROR).encode(), 400)

    with client(proxy(upstream(script).url, PROXY_CONTENT="filtered").url) as caller:
        sent = caller.chat(x_proxy_content="none")
        sent.read()
    assert hub.record(sent.trace_id)["content_captured"] is False


@pytest.mark.parametrize(
    ("verdict", "flagged"),
    [
        ({}, False),
        ({"prompt": {"custom_blocklists": {"filtered": False, "details": []}}}, False),
        ({"prompt": {"custom_blocklists": {"filtered": False, "details": [{"filtered": True, "id": "b"}]}}}, True),
        ({"completion": {"protected_material_code": {"detected": True, "citation": {"license": "MIT"}}}}, True),
        ({"completion": {"profanity": {"severity": "medium"}}}, True),
    ],
)
def test_what_counts_as_flagged(verdict: dict[str, object], flagged: bool) -> None:
    """A result above safe, detected or filtered, at any depth."""
    assert is_flagged(Call("chat", answer=Answer(choices=[Choice()], content_filter=verdict))) is flagged
