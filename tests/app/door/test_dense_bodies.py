"""Large bodies: their members are slices of them; those with too many values pass unread, and say so."""

import json
from typing import Any

import pytest

from app.door import inbound
from tests.kit.hub import HubReader
from tests.kit.scripts import answering
from tests.kit.wire import CHAT, client

V1 = "/openai/v1/chat/completions"
DENSE = b'{"model":"gpt-4o","messages":[' + b"{}," * 3000 + b"{}]}"
MANY_NAMES = b'{"model":"gpt-4o",' + b",".join(b'"%d":0' % number for number in range(3000)) + b"}"


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits in proportion to the bodies here."""
    monkeypatch.setattr(inbound, "LARGE", 1024)
    monkeypatch.setattr(inbound, "MAX_VALUES", 4000)


def sent(running: Any, hub: HubReader, path: str, body: bytes) -> dict[str, Any]:
    with client(running.url) as caller:
        answer = caller.send("POST", path, body)
        assert answer.status == 200
        answer.read()
    return hub.record(answer.trace_id)


@pytest.mark.parametrize("body", [DENSE, MANY_NAMES])
def test_a_dense_body_passes_unread(small_limits: None, upstream: Any, proxy: Any, hub: HubReader, body: bytes) -> None:
    """Its record has no prompt, is marked truncated, and has usage and answer as ever."""
    server = upstream(answering)
    record = sent(proxy(server.url), hub, V1, body)
    assert server.seen[0].body == body
    assert (record["prompt"], record["truncated"], record["deployment"]) == (None, True, "gpt-4o")
    assert (record["status"], record["usage_source"]) == ("completed", "reported")


def test_a_large_body_with_few_values_is_read(small_limits: None, upstream: Any, proxy: Any, hub: HubReader) -> None:
    """Off the loop, and whole."""
    messages = [{"role": "user", "content": "é😀 " * 5000}]
    record = sent(proxy(upstream(answering).url), hub, CHAT, json.dumps({"messages": messages, "user": "u"}).encode())
    assert record["prompt"] == messages
    assert record["request"] == {"user": "u"}


def test_numbers_and_spaces_stay_as_they_were_sent(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """A prompt is a slice of the body; a line break between its values becomes a space, since a record is a line."""
    text = '[{"role":"user",\n "seed":12345678901234567890123, "x":1e400,\r\n"content":"a\\nb"}]'
    record = sent(proxy(upstream(answering).url), hub, CHAT, f'{{"messages":{text},"n":1.0}}'.encode())
    (message,) = record["prompt"]
    assert message == {"role": "user", "seed": 12345678901234567890123, "x": float("inf"), "content": "a\nb"}


def test_a_long_prompt_that_is_not_utf_8_is_refused(upstream: Any, proxy: Any) -> None:
    """Wherever the bad byte is."""
    server = upstream(answering)
    body = b'{"messages":["' + b"a" * 300_000 + b'\xff"]}'
    with client(proxy(server.url).url) as caller:
        answer = caller.send("POST", CHAT, body)
        assert (answer.status, json.loads(answer.read())["error"]["code"]) == (400, "invalid_body")
    assert server.seen == []
