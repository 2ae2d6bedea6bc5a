"""Backends: the order in which they are tried, cool-off, and what the client gets."""

import http.client
import json
from typing import Any

import pytest

from app.relay.backends import MAX_COOLING, Backend, Backends, retry_after
from app.upstream.credentials import KeyAuth
from tests.kit.hub import HubReader
from tests.kit.scripts import streaming
from tests.kit.upstream import Reply, Seen
from tests.kit.wire import PROMPT, STREAM, STREAM_WITH_USAGE, TEXT, USAGE, chat_body, chat_json, client

DEPLOYMENTS = "/openai/deployments"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def backend(name: str, priority: int = 0, *deployments: str) -> Backend:
    return Backend.at(name, "http://127.0.0.1", KeyAuth("k"), priority, frozenset(deployments) or None)


def names(order: list[Backend]) -> list[str]:
    return [backend.name for backend in order]


def test_priorities_decide_and_equal_backends_take_turns() -> None:
    """The lower priority goes first; backends of equal priority get the same number of calls."""
    backends = Backends([backend("c", 1), backend("a"), backend("b")])
    orders = [names(backends.order("d")) for _ in range(10)]
    assert {tuple(order) for order in orders} == {("a", "b", "c"), ("b", "a", "c")}
    assert sum(order[0] == "a" for order in orders) == 5


def test_a_backend_serves_only_its_deployments() -> None:
    """A backend with a list of deployments serves those; one without serves all."""
    backends = Backends([backend("a", 0, "gpt"), backend("b")])
    assert names(backends.serving("gpt")) == ["a", "b"]
    assert names(backends.serving("other")) == ["b"]
    assert names(backends.serving(None)) == ["a", "b"]


def test_cool_off_is_per_deployment_and_ends() -> None:
    """Cool-off is per backend and deployment and ends by itself; the first to end is the last resort."""
    clock = Clock()
    backends = Backends([backend("a"), backend("b", 1)], clock)
    backends.cool_off(backends.serving("d")[0], "d", 5.0)
    assert names(backends.order("d")) == ["b", "a"]
    assert names(backends.order("other"))[0] == "a"
    backends.cool_off(backends.serving("d")[1], "d", 9.0)
    assert names(backends.order("d")) == ["a"]
    clock.now += 5.0
    assert names(backends.order("d")) == ["a", "b"]


def test_a_sole_backend_never_cools_off() -> None:
    """Without an alternative, a backend stays in use."""
    backends = Backends([backend("a"), backend("b", 0, "other")])
    backends.cool_off(backends.serving("d")[0], "d", 60.0)
    assert names(backends.order("d")) == ["a"]


def test_expired_cool_offs_are_forgotten() -> None:
    """However many deployments clients invent, only the current cool-offs are remembered."""
    clock = Clock()
    backends = Backends([backend("a"), backend("b")], clock)
    for number in range(5 * MAX_COOLING):
        backends.cool_off(backends.serving("d")[0], f"made-up-{number}", 1.0)
        clock.now += 0.01
    assert len(backends._cold_until) <= MAX_COOLING + 1
    assert names(backends.order(f"made-up-{5 * MAX_COOLING - 1}"))[0] == "b"


def test_sticky_calls_move_only_during_cool_off() -> None:
    """A value goes to one backend, values spread evenly, and calls move only while their backend cools off."""
    clock = Clock()
    backends = Backends([backend("a"), backend("b"), backend("c")], clock)
    first = {user: names(backends.order("d", user))[0] for user in map(str, range(60))}
    assert {names(backends.order("d", user))[0] == first[user] for user in first} == {True}
    assert set(first.values()) == {"a", "b", "c"}
    backends.cool_off(backends.serving("d")[0], "d", 5.0)
    moved = {user: names(backends.order("d", user))[0] for user in first}
    assert all(moved[user] == first[user] for user in first if first[user] != "a")
    assert "a" not in moved.values()
    clock.now += 5.0
    assert {user: names(backends.order("d", user))[0] for user in first} == first


@pytest.mark.parametrize(
    ("milliseconds", "after", "seconds"),
    [
        ("1500", "9", 1.5),
        (None, "9", 9.0),
        ("odd", "2", 2.0),
        (None, None, None),
        (None, "-1", None),
        (None, "odd", None),
        (None, "Thu, 25 Apr 2024 09:22:53 GMT", 0.0),
        (None, "Thu, 25 Apr 2024 09:22:53 +99999999999999999999", None),
        (None, "Thu, 25 Apr 99999999999999999999 09:22:53 GMT", None),
    ],
)
def test_retry_after_is_parsed(milliseconds: str | None, after: str | None, seconds: float | None) -> None:
    """retry-after-ms counts first, then retry-after as seconds or a date; anything else is ignored."""
    assert retry_after(milliseconds, after) == seconds


def failing(status: int, **headers: str) -> Any:
    async def script(request: Seen, reply: Reply) -> None:
        await reply.json(b'{"error":{"code":"%d","message":"busy"}}' % status, status, headers)

    return script


async def answering(request: Seen, reply: Reply) -> None:
    await reply.json(chat_json(), headers={"x-ms-region": "West Europe"})


def configured(*urls: str, **more: object) -> str:
    return json.dumps(
        [
            {"name": f"b{number}", "base_url": url, "key": f"key-{number}", "priority": number, **more}
            for number, url in enumerate(urls)
        ]
    )


@pytest.mark.parametrize("status", [408, 429, 500])
def test_a_busy_backend_is_replaced_by_the_next(upstream: Any, proxy: Any, hub: HubReader, status: int) -> None:
    """The client gets only the second response; record and span have both attempts; each backend gets its own key."""
    busy, free = upstream(failing(status, **{"retry-after": "60"})), upstream(answering)
    running = proxy("", AZURE_OPENAI_BACKENDS=configured(busy.url, free.url))
    with client(running.url) as caller:
        first, second = caller.chat(), None
        assert (first.status, first.read()) == (200, chat_json())
        second = caller.chat()
        assert second.read() == chat_json()
    assert [seen.header("api-key") for seen in busy.seen + free.seen] == ["key-0", "key-1", "key-1"]
    assert busy.seen[0].body == free.seen[0].body == chat_body()
    record = hub.record(first.trace_id)
    assert (record["backend"], record["attempts"], record["region"]) == ("b1", 2, "West Europe")
    assert (record["status"], record["prompt"]) == ("completed", PROMPT)
    assert hub.record(second.trace_id)["attempts"] == 1
    (call,) = [span for span in running.spans.of_trace(first.trace_id, 2) if span.kind.name == "CLIENT"]
    attempts = [dict(event.attributes) for event in call.events if event.name == "proxy.attempt"]
    assert attempts == [
        {"proxy.backend": "b0", "proxy.http_status": status},
        {"proxy.backend": "b1", "proxy.http_status": 200},
    ]


def test_an_unreachable_backend_is_replaced(upstream: Any, proxy: Any, hub: HubReader, dead_port: int) -> None:
    """Without a connection to one backend, the next one serves the call."""
    dead = f"http://127.0.0.1:{dead_port}"
    free = upstream(answering)
    with client(proxy("", AZURE_OPENAI_BACKENDS=configured(dead, free.url)).url) as caller:
        answer = caller.chat()
        assert answer.read() == chat_json()
    assert hub.record(answer.trace_id)["attempts"] == 2


def test_a_stream_is_retried_with_its_usage_request(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """The next backend gets the same request for usage, and the client gets that backend's stream."""
    busy, free = upstream(failing(503)), upstream(streaming(STREAM_WITH_USAGE))
    with client(proxy("", AZURE_OPENAI_BACKENDS=configured(busy.url, free.url)).url) as caller:
        answer = caller.chat(stream=True)
        assert (answer.status, answer.read()) == (200, b"".join(STREAM))
    assert busy.seen[0].body == free.seen[0].body != chat_body(stream=True)
    record = hub.record(answer.trace_id)
    assert (record["status"], record["backend"], record["attempts"]) == ("completed", "b1", 2)
    assert (record["content"], record["usage"]) == (TEXT, USAGE)


def test_a_started_response_is_not_retried(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """Once a byte was sent to the client, there is no retry: a stream that breaks off stays broken."""

    async def breaking(request: Seen, reply: Reply) -> None:
        await reply.stream_head()
        await reply.chunk(STREAM[0])
        reply.writer.close()

    one, two = upstream(breaking), upstream(answering)
    with client(proxy("", AZURE_OPENAI_BACKENDS=configured(one.url, two.url)).url) as caller:
        answer = caller.chat(stream=True)
        with pytest.raises(http.client.IncompleteRead):
            answer.read()
    assert not two.seen
    record = hub.record(answer.trace_id)
    assert (record["status"], record["backend"], record["attempts"]) == ("upstream_cut", "b0", 1)


def test_a_streamed_upload_is_not_retried(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """A streamed body cannot be resent: the client gets the first backend's response. The next upload goes to another
    backend."""
    busy, free = upstream(failing(429)), upstream(answering)
    with client(proxy("", AZURE_OPENAI_BACKENDS=configured(busy.url, free.url)).url) as caller:
        statuses = []
        for _ in range(2):
            answer = caller.send("POST", "/openai/files?api-version=1", b"x" * 1000, content_type="text/plain")
            answer.read()
            statuses.append(answer.status)
    assert statuses == [429, 200]
    assert (len(busy.seen), len(free.seen)) == (1, 1)


def test_with_all_backends_cooling_off_the_client_gets_the_last_response(upstream: Any, proxy: Any) -> None:
    """If all are busy, the client gets the response of the last one tried, now and on the next call."""
    one, two = upstream(failing(429, **{"retry-after": "60"})), upstream(failing(503, **{"retry-after": "30"}))
    with client(proxy("", AZURE_OPENAI_BACKENDS=configured(one.url, two.url)).url) as caller:
        first = caller.chat()
        assert (first.status, json.loads(first.read())["error"]["code"]) == (503, "503")
        answer = caller.chat()
        assert (answer.status, json.loads(answer.read())["error"]["code"]) == (503, "503")
    assert (len(one.seen), len(two.seen)) == (1, 2)


def test_an_unknown_deployment_is_a_404(upstream: Any, proxy: Any) -> None:
    """The proxy responds itself, with Azure's code, and calls no backend."""
    server = upstream(answering)
    backends = configured(server.url, deployments=["other"])
    with client(proxy("", AZURE_OPENAI_BACKENDS=backends).url) as caller:
        answer = caller.chat()
        assert (answer.status, json.loads(answer.read())["error"]["code"]) == (404, "DeploymentNotFound")
    assert not server.seen


@pytest.mark.parametrize("sticky", ["body:user", "header:X-Session-Id"])
def test_sticky_calls_go_to_one_backend(upstream: Any, proxy: Any, sticky: str) -> None:
    """PROXY_STICKY groups calls by a field of the body, even one that UTF-8 cannot encode, or by a header."""
    servers = [upstream(answering) for _ in range(3)]
    backends = json.dumps([{"name": s.url, "base_url": s.url, "key": "k"} for s in servers])
    with client(proxy("", AZURE_OPENAI_BACKENDS=backends, PROXY_STICKY=sticky).url) as caller:
        for user in "abcdefg\ud83d" * 2:
            target = DEPLOYMENTS + "/d/chat/completions?api-version=1"
            answer = caller.send("POST", target, chat_body(user=user), x_session_id=ascii(user))
            assert (answer.status, answer.read()) == (200, chat_json())
    users = [{json.loads(seen.body)["user"] for seen in server.seen} for server in servers]
    assert sum(map(len, users)) == 8
    assert sum(len(server.seen) for server in servers) == 16
