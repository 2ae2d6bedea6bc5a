"""/health/ready: the state of delivery, and a 503 only if the operator configured a limit."""

import json
from typing import Any

from tests.kit.hub import wait_until
from tests.kit.scripts import answering
from tests.kit.wire import CHAT, chat_body, client

NOTHING = {
    "backlog": 0,
    "backlog_bytes": 0,
    "oldest_seconds": 0.0,
    "sent": 0,
    "last_success": None,
    "lost": {},
    "unjournalled": 0,
    "in_memory_bytes": 0,
}


def ready(url: str) -> tuple[int, dict[str, Any]]:
    with client(url) as caller:
        answer = caller.send("GET", "/health/ready")
        return answer.status, json.loads(answer.read())


def records(url: str) -> dict[str, Any]:
    told: dict[str, Any] = ready(url)[1]["records"]
    return told


def accounted(told: dict[str, Any]) -> int:
    """The number of records that wait or are lost."""
    return int(told["backlog"]) + sum(told["lost"].values())


def call(url: str) -> None:
    with client(url) as caller:
        caller.chat().read()


def test_sent_records_are_counted(upstream: Any, proxy: Any) -> None:
    """The backlog is empty at first; after a call its record counts as sent, with a time."""
    running = proxy(upstream(answering).url)
    assert ready(running.url)[1]["records"] == NOTHING
    call(running.url)
    wait_until(lambda: (told := records(running.url))["sent"] == 1 and not told["backlog"])
    status, found = ready(running.url)
    assert (status, found["status"]) == (200, "ok")
    assert 1.6e9 < found["records"].pop("last_success") < 1e10
    assert found["records"] == {**{k: v for k, v in NOTHING.items() if k != "last_success"}, "sent": 1}


def test_an_unreachable_hub_shows_in_the_backlog(upstream: Any, proxy: Any, unreachable_hub: str) -> None:
    """The backlog is given in records, bytes and the oldest one's age; the proxy stays ready."""
    running = proxy(upstream(answering).url, unreachable_hub, PROXY_SHUTDOWN_SECONDS="1")
    for _ in range(3):
        call(running.url)
    wait_until(lambda: (told := records(running.url))["oldest_seconds"] > 0.5 and told["backlog"] == 3)
    status, found = ready(running.url)
    assert (status, found["status"]) == (200, "ok")
    assert 3 * 300 < found["records"]["backlog_bytes"] < 3 * 3000
    assert (found["records"]["sent"], found["records"]["last_success"]) == (0, None)


def test_past_the_configured_backlog_it_is_not_ready(upstream: Any, proxy: Any, unreachable_hub: str) -> None:
    """If the oldest record is older than PROXY_READY_MAX_BACKLOG_SECONDS: 503; calls are still accepted."""
    running = proxy(
        upstream(answering).url, unreachable_hub, PROXY_READY_MAX_BACKLOG_SECONDS="0.5", PROXY_SHUTDOWN_SECONDS="1"
    )
    assert ready(running.url)[0] == 200
    call(running.url)
    wait_until(lambda: ready(running.url)[0] == 503)
    assert ready(running.url)[1]["status"] == "late"
    call(running.url)
    wait_until(lambda: records(running.url)["backlog"] == 2)


def test_losses_are_counted_by_reason(upstream: Any, proxy: Any, unreachable_hub: str) -> None:
    """A record dropped for a full spool is counted as spool_full; the call is not affected."""
    running = proxy(upstream(answering).url, unreachable_hub, PROXY_SPOOL_MAX_BYTES="5000", PROXY_SHUTDOWN_SECONDS="1")
    calls = 0
    with client(running.url) as caller:
        while not records(running.url)["lost"]:
            answer = caller.send("POST", CHAT, chat_body())
            assert answer.status == 200
            answer.read()
            calls += 1
            # the client gets the body a moment before the record is made
            wait_until(lambda made=calls: made == accounted(records(running.url)))
    assert records(running.url)["lost"] == {"spool_full": 1}
