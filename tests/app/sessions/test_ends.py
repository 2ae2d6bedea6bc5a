"""Sessions of a process that ends: responses under way leave a record, and clients learn why."""

import json
import signal
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from tests.app.sessions.service import Service, session
from tests.kit.azure import Trace
from tests.kit.hub import wait_until

CREATE = json.dumps({"type": "response.create"})
ITEM = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "planted"}]}
ITEM_CREATE = json.dumps({"type": "conversation.item.create", "item": ITEM})


async def begin(connection: ServerConnection) -> None:
    """Begin a response to each request, and never end one."""
    async for message in connection:
        if json.loads(message)["type"] == "response.create":
            created = {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}}
            delta = {"type": "response.output_text.delta", "response_id": "resp_1", "delta": "so far"}
            await connection.send(json.dumps(created))
            await connection.send(json.dumps(delta))


def begun(client: Any) -> None:
    client.send(ITEM_CREATE)
    client.send(CREATE)
    client.recv(60)
    client.recv(60)


def test_a_killed_process_leaves_a_record(service: Service, process: Any, trace: Trace) -> None:
    """The slot of the journal had the prompt from the moment the response was asked for."""
    service.script = begin
    running = process(service.url)
    with session(running.url, headers=dict(trace.headers)) as client:
        begun(client)
        running.signal(signal.SIGKILL)
        running.wait(60)
    process(service.url)
    record = trace.record()
    assert (record["status"], record["prompt"], record["content"]) == ("interrupted", [ITEM], "")


def test_a_stopped_process_closes_its_sessions(service: Service, process: Any, trace: Trace) -> None:
    """With 1012 within its time; the response under way is interrupted, with what was received."""
    service.script = begin
    running = process(service.url, PROXY_SHUTDOWN_SECONDS="4")
    with session(running.url, headers=dict(trace.headers)) as client, session(running.url) as idle:
        begun(client)
        running.signal(signal.SIGTERM)
        for one in (idle, client):
            with pytest.raises(ConnectionClosed) as ended:
                one.recv(60)
            assert ended.value.rcvd is not None
            assert ended.value.rcvd.code == 1012
        assert running.wait_in_time(4) == -signal.SIGTERM
    record = trace.record()
    assert (record["status"], record["content"], record["error"]["code"]) == ("interrupted", "so far", "shutdown")


def test_no_sound_prompt_or_key_is_on_disk(service: Service, process: Any, trace: Trace, tmp_path: Any) -> None:
    """With PROXY_CONTENT=none neither the journal nor the log has any."""
    service.script = begin
    running = process(service.url, PROXY_CONTENT="none")
    sound = "c291bmQ" * 100
    with session(running.url, headers=dict(trace.headers)) as client:
        client.send(json.dumps({"type": "input_audio_buffer.append", "audio": sound}))
        begun(client)
        slots = list(tmp_path.rglob("*.call"))
        wait_until(lambda: any(path.read_text() for path in slots))
        journal = "".join(path.read_text() for path in slots)
    record = trace.record()
    for text in (journal, json.dumps(record), "".join(running.output)):
        assert "planted" not in text
        assert "c291bmQ" not in text
        assert "client-key-0" not in text
    assert record["prompt"] is None
