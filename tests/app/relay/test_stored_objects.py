"""Several backends: stored objects are looked for where they were made."""

import gzip
import json
import threading
from typing import Any

import pytest

from app.operations.chat import Chat
from app.operations.responses import Responses
from app.relay.stored import MAX_IDS, StoredCall, StoredIds
from otel.call import Answer, Call
from tests.app.relay.several import MISSING, NAMES, Proxied
from tests.kit.hub import HubReader, wait_until
from tests.kit.proxy import KEY
from tests.kit.upstream import Reply, ScriptedUpstream, Seen
from tests.kit.wire import Client, client


def made(caller: Client, path: str, body: bytes = b'{"model":"shared","input":"a"}') -> dict[str, Any]:
    answer = caller.send("POST", path, body)
    assert answer.status == 200
    parsed: dict[str, Any] = json.loads(answer.read())
    return parsed


@pytest.mark.parametrize("path", ["/openai/v1/responses", "/openai/files?api-version=1", "/openai/v1/batches"])
def test_a_stored_object_is_asked_for_where_it_was_made(proxied: Proxied, caller: Client, path: str) -> None:
    """One request upstream for each, whatever is asked of it."""
    stored = [made(caller, path) for _ in range(6)]
    assert {one["on"] for one in stored} == set(NAMES)
    base = path.partition("?")[0]
    for one in stored:
        for method, rest in (("GET", ""), ("GET", "/content"), ("POST", "/cancel"), ("DELETE", "")):
            before = proxied.asked()
            answer = caller.send(method, f"{base}/{one['id']}{rest}")
            assert (answer.status, json.loads(answer.read())["on"]) == (200, one["on"])
            assert proxied.asked() == before + 1


def test_an_unknown_object_is_looked_for_on_each_backend(proxied: Proxied, hub: HubReader) -> None:
    """Another process made it; once found, it is known."""
    with client(proxied.url) as caller:
        stored = [made(caller, "/openai/v1/responses") for _ in range(3)]
    proxied.restart()
    with client(proxied.url) as caller:
        for one in stored:
            answer = caller.send("GET", f"/openai/v1/responses/{one['id']}")
            assert (answer.status, json.loads(answer.read())["on"]) == (200, one["on"])
            record = hub.record(answer.trace_id)
            assert (record["backend"], record["http_status"], record["status"]) == (one["on"], 200, "completed")
            before = proxied.asked()
            caller.send("GET", f"/openai/v1/responses/{one['id']}").read()
            assert proxied.asked() == before + 1


def test_an_object_that_no_backend_has_is_the_first_ones_404(proxied: Proxied, caller: Client, hub: HubReader) -> None:
    """Each is asked once; status, body and record are of one backend."""
    answer = caller.send("GET", "/openai/v1/files/file-unknown1")
    assert answer.status == 404
    record = hub.record(answer.trace_id)
    assert answer.read() == MISSING % record["backend"].encode()
    assert record["backend"] == record["attempts_made"][0]["backend"]
    assert sorted(attempt["backend"] for attempt in record["attempts_made"]) == list(NAMES)


def test_a_404_of_a_deployment_or_a_list_is_final(proxied: Proxied, caller: Client) -> None:
    """Only stored objects are looked for elsewhere."""
    answer = caller.send("POST", "/openai/deployments/shared/unknown/path", b"{}")
    answer.read()
    assert (answer.status, proxied.asked()) == (404, 1)


def test_a_response_continues_where_the_previous_one_is(proxied: Proxied) -> None:
    """By its id, known or not."""
    with client(proxied.url) as caller:
        stored = [made(caller, "/openai/v1/responses") for _ in range(3)]
        for one in stored:
            body = json.dumps({"model": "shared", "input": "b", "previous_response_id": one["id"]}).encode()
            before = proxied.asked()
            assert made(caller, "/openai/v1/responses", body)["on"] == one["on"]
            assert proxied.asked() == before + 1
    proxied.restart()
    with client(proxied.url) as caller:
        for one in stored:
            body = json.dumps({"model": "shared", "input": "b", "previous_response_id": one["id"]}).encode()
            assert made(caller, "/openai/v1/responses", body)["on"] == one["on"]


def test_a_streamed_body_is_sent_once(proxied: Proxied, caller: Client) -> None:
    """An upload to an unknown object cannot be repeated elsewhere."""
    answer = caller.send("POST", "/openai/v1/uploads/upload_unknown1/parts", b"x" * 1000, content_type="text/plain")
    answer.read()
    assert (answer.status, proxied.asked()) == (404, 1)


def test_the_oldest_ids_are_forgotten() -> None:
    """However many objects are made, the newest are known."""
    ids = StoredIds()
    for number in range(MAX_IDS + 1):
        ids.add(f"file-{number}", "a")
    assert ids.backend(["file-0"]) is None
    assert ids.backend([None, "file-1"]) == "a"


BUSY, GONE, FOUND = 429, 404, 200


@pytest.mark.parametrize(
    ("statuses", "expected", "backend"),
    [
        ([BUSY, GONE, GONE], BUSY, "a"),
        ([GONE, BUSY, GONE], BUSY, "b"),
        ([GONE, 503, GONE], 503, "b"),
        ([GONE, GONE, BUSY], BUSY, "c"),
        ([GONE, GONE, GONE], GONE, "a"),
        ([BUSY, GONE, FOUND], FOUND, "c"),
        ([None, GONE, GONE], 502, "a"),
        ([GONE, None, GONE], 502, "b"),
    ],
)
def test_a_busy_backend_may_have_the_object(
    upstream: Any, proxy: Any, hub: HubReader, statuses: list[int | None], expected: int, backend: str
) -> None:
    """An object is gone only if each backend says so: a client that polls must not take a 429 for that."""

    def resource(status: int | None) -> ScriptedUpstream:
        async def script(request: Seen, reply: Reply) -> None:
            if status is None:
                reply.reset()
            else:
                await reply.json(b'{"object":"response"}', status)

        started: ScriptedUpstream = upstream(script)
        return started

    servers = [resource(status) for status in statuses]
    backends = [
        {"name": name, "base_url": server.url, "key": "k", "priority": priority}
        for priority, (name, server) in enumerate(zip(NAMES, servers, strict=True))
    ]
    with client(proxy(servers[0].url, AZURE_OPENAI_BACKENDS=json.dumps(backends)).url) as caller:
        answer = caller.send("GET", "/openai/v1/responses/resp_1")
        answer.read()
    assert answer.status == expected
    record = hub.record(answer.trace_id)
    if expected != 502:
        assert record["backend"] == backend


def test_a_404_that_is_held_is_closed_when_the_client_leaves(upstream: Any, proxy: Any) -> None:
    """Its body has not ended, and the next backend never responds: no connection is left behind."""
    open_connections: list[Reply] = []

    async def unfinished(request: Seen, reply: Reply) -> None:
        await reply.head(404, {"content-length": "100"})
        await reply.raw(b"{")
        await reply.hung_up()
        open_connections.append(reply)

    async def silent(request: Seen, reply: Reply) -> None:
        server.loop.call_soon_threadsafe(asked.set)
        await reply.hung_up()
        open_connections.append(reply)

    asked = threading.Event()
    first, server = upstream(unfinished), upstream(silent)
    backends = [
        {"name": name, "base_url": one.url, "key": "k", "priority": priority}
        for priority, (name, one) in enumerate(zip("ab", (first, server), strict=True))
    ]
    with client(proxy(first.url, AZURE_OPENAI_BACKENDS=json.dumps(backends)).url) as caller:
        caller.connection.request("GET", "/openai/v1/responses/resp_1", headers={"api-key": KEY})
        assert asked.wait(30)
        caller.leave()
    wait_until(lambda: len(open_connections) == 2)


def test_a_models_name_is_not_a_stored_object(proxied: Proxied, caller: Client) -> None:
    """GET of a model goes to any backend, again and again."""
    for resource in proxied.resources:
        resource.made.add("gpt-4o")
    for _ in range(6):
        caller.send("GET", "/openai/v1/models/gpt-4o").read()
    assert [len(server.seen) for server in proxied.servers] == [2, 2, 2]


def test_the_id_in_a_compressed_answer_is_known(upstream: Any, proxy: Any) -> None:
    """Clients accept gzip, and upstream may use it."""
    body = gzip.compress(b'{"id":"file-1","object":"file"}')

    async def script(request: Seen, reply: Reply) -> None:
        await reply.json(body, headers={"content-encoding": "gzip"})

    servers = [upstream(script) for _ in range(2)]
    backends = [{"name": name, "base_url": one.url, "key": "k"} for name, one in zip("ab", servers, strict=True)]
    with client(proxy(servers[0].url, AZURE_OPENAI_BACKENDS=json.dumps(backends)).url) as caller:
        caller.send("POST", "/openai/v1/files", b"x", content_type="text/plain").read()
        for _ in range(4):
            caller.send("GET", "/openai/v1/files/file-1").read()
    assert sorted(len(server.seen) for server in servers) == [0, 5]


def test_chats_do_not_displace_stored_objects() -> None:
    """Only calls that store something are remembered."""
    ids = StoredIds()
    for operation, expected in ((Chat(), None), (Responses(), "a")):
        call = Call("chat", backend="a", http_status=200, answer=Answer(id=f"id-{operation.api_type}"))
        StoredCall(ids, call, operation, "x", is_post=True).close()
        assert ids.backend([f"id-{operation.api_type}"]) == expected
