"""Of a stream, a limited amount of text is kept; its usage is read from the end all the same."""

import json
from typing import Any

import pytest

from app.operations.room import Room
from tests.kit.hub import HubReader
from tests.kit.scripts import streaming
from tests.kit.wire import CHAT, DONE, client, delta, event


def test_room_keeps_what_fits() -> None:
    """And counts the bytes of what does not."""
    room = Room(4)
    assert [room.keep(text) for text in ("ab", "céd", "😀")] == ["ab", "cé", ""]
    assert (room.left, room.bytes) == (0, 1 + 4)


USAGE = {"prompt_tokens": 1, "completion_tokens": 9, "total_tokens": 10}
RESPONSE = {"id": "r", "status": "completed", "output": [], "usage": {"input_tokens": 1, "output_tokens": 9}}
STREAMS: dict[str, tuple[str, list[bytes]]] = {
    "chat": (CHAT, [*[delta({"content": "x" * 100})] * 50, event({"choices": [], "usage": USAGE}), DONE]),
    "a tool": (
        CHAT,
        [
            *[delta({"tool_calls": [{"index": 0, "function": {"arguments": "x" * 100}}]})] * 50,
            event({"choices": [], "usage": USAGE}),
            DONE,
        ],
    ),
    "responses": (
        "/openai/v1/responses",
        [
            *[event({"type": "response.output_text.delta", "output_index": 0, "delta": "x" * 100})] * 50,
            event({"type": "response.completed", "response": RESPONSE}),
        ],
    ),
    "messages": (
        "/anthropic/v1/messages",
        [
            *[event({"type": "content_block_delta", "index": 0, "delta": {"text": "x" * 100}})] * 50,
            event({"type": "message_delta", "usage": {"input_tokens": 1, "output_tokens": 9}}),
            event({"type": "message_stop"}),
        ],
    ),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_past_the_limit(upstream: Any, proxy: Any, hub: HubReader, name: str) -> None:
    """It passes whole; its record has the beginning of the text, its whole size, and the usage."""
    path, events = STREAMS[name]
    running = proxy(upstream(streaming(events)).url, PROXY_MAX_CONTENT_BYTES="1234", PROXY_STREAM_USAGE="off")
    with client(running.url) as caller:
        body = {"model": "m", "stream": True, "messages": [], "input": "a"}
        answer = caller.send("POST", path, json.dumps(body).encode())
        assert answer.read() == b"".join(events)
    record = hub.record(answer.trace_id)
    text = record["tool_calls"][0]["arguments"] if name == "a tool" else record["content"]
    assert text == "x" * 1234
    assert (record["truncated"], record["content_bytes"], record["status"]) == (True, 5000, "completed")
    assert (record["usage"]["completion_tokens"], record["usage_source"]) == (9, "reported")


def test_a_stream_within_the_limit_is_whole(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """Neither truncated nor measured."""
    path, events = STREAMS["chat"]
    with client(proxy(upstream(streaming(events)).url, PROXY_STREAM_USAGE="off").url) as caller:
        answer = caller.send("POST", path, b'{"stream":true,"messages":[]}')
        answer.read()
    record = hub.record(answer.trace_id)
    assert (len(record["content"]), record.get("truncated"), record.get("content_bytes")) == (5000, None, None)
