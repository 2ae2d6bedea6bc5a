"""The doctor: what it says of each way in which a deployment does not work."""

from typing import Any

import pytest

from tests.app.doctor.conftest import Examine
from tests.app.doctor.patient import model
from tests.conftest import environ
from tests.kit.hub import ROOT
from tests.kit.proxy import KEY
from tests.kit.upstream import Reply
from tests.kit.upstream import Seen as Request


def test_a_key_that_is_not_let_in(upstream: Any, proxy: Any, examine: Examine) -> None:
    """A wrong key is a failure that says so, once, and does not repeat the key."""
    server = upstream(model)
    found = examine(proxy(server.url).url, "--key", "not-the-key")
    assert "401 Access denied" in found.of("call")
    assert found.of("stream") == ""
    assert (found.status, server.seen) == (1, [])
    assert "not-the-key" not in found.said


def test_a_door_that_is_open(upstream: Any, proxy: Any, examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    """That anyone may call is told; to whom believes in a key, as a failure."""
    running = proxy(upstream(model).url, PROXY_CLIENT_KEYS="", PROXY_ALLOW_ANONYMOUS="true")
    assert "FAIL a wrong key is let in (200)" in examine(running.url).of("keys")
    monkeypatch.delenv("AZURE_OPENAI_API_KEY")
    found = examine(running.url)
    assert "note let in without a key (200)" in found.of("keys")
    assert found.status == 0


def test_another_header_for_the_key(upstream: Any, proxy: Any, examine: Examine) -> None:
    """--key-header puts the key where API Management or the Functions host wants it, and nowhere else."""

    async def host(request: Request, reply: Reply) -> None:
        assert request.header("api-key") in (None, "none")
        if request.target.startswith("/openai") and request.header("x-functions-key") != KEY:
            await reply.json(b"{}", 401)
        else:
            await model(request, reply)

    found = examine(upstream(host).url, "--key-header", "x-functions-key")
    assert "refused (401)" in found.of("keys")
    assert "answered after" in found.of("call")
    assert "FAIL no x-trace-id in the answer: this address leads past the proxy" in found.of("call")
    assert "not as this proxy does" in found.of("ready")


def test_nothing_at_the_address(examine: Examine, dead_port: int) -> None:
    """No connection, and no URL at all, end the examination with a reason."""
    found = examine(f"http://127.0.0.1:{dead_port}")
    assert [(word, check) for word, check, _ in found.lines] == [("FAIL", "reachable")]
    assert "refused" in found.of("reachable")
    assert found.status == 1
    assert examine("nonsense").status == 1


def test_something_else_at_the_address(upstream: Any, examine: Examine) -> None:
    """What does not speak HTTP is told from nothing at all; what does, and has no health page, may be a gateway."""

    async def noise(request: Request, reply: Reply) -> None:
        await reply.raw(b"SSH-2.0-planted\r\n\r\n")
        reply.writer.close()

    assert "does not speak HTTP" in examine(upstream(noise).url).of("reachable")
    found = examine(upstream(lambda request, reply: reply.json(b"{}", 404)).url)
    assert "note something answers" in found.of("reachable")
    assert found.of("call").startswith("FAIL 404")


@pytest.mark.parametrize("conn_str", ["nonsense", "Endpoint=sb://x.example/;SharedAccessKeyName=a;SharedAccessKey=b"])
def test_a_connection_string_that_is_none(upstream: Any, proxy: Any, examine: Examine, conn_str: str) -> None:
    """One that cannot be read, or names no hub, is said to be so before the calls, which are made all the same."""
    found = examine(proxy(upstream(model).url).url, "--hub-conn-str", conn_str)
    assert "FAIL not looked for" in found.of("records")
    assert found.words("call") == ["ok", "ok"]


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (404, b'{"error":{"code":"DeploymentNotFound","message":"It does not exist."}}', "no such deployment"),
        (429, b'{"error":{"code":"429","message":"Slow down."}}', "quota is used up"),
        (500, b'{"error":{"code":"500","message":"planted client-key-0"}}', "500 planted …"),
        (401, b'{"error":{"code":"401","message":"Upstream says no."}}', "or the proxy's own is not"),
    ],
)
def test_what_upstream_refuses(
    upstream: Any, proxy: Any, examine: Examine, status: int, body: bytes, said: str
) -> None:
    """An error is shown in upstream's words, with what it may come from, and never with a key."""
    found = examine(proxy(upstream(lambda request, reply: reply.json(body, status)).url).url)
    assert found.of("call").startswith(f"FAIL {status}")
    assert said in found.of("call")
    assert found.status == 1


@pytest.mark.parametrize(
    ("body", "content_type", "said"),
    [
        (b"<html>Sign in</html>", "text/html", "no completion but text/html"),
        (b'{"object":"list","choices":[]}', "application/json", "no completion but application/json"),
        (b"<html>", "application/json", "FAIL"),
    ],
)
def test_what_answers_and_is_no_model(
    upstream: Any, examine: Examine, body: bytes, content_type: str, said: str
) -> None:
    """A page to sign in, or an API that is another one, is said to be that."""
    server = upstream(lambda request, reply: reply.json(body, 200, {"content-type": content_type}))
    found = examine(server.url)
    assert said in found.of("call")
    assert found.status == 1


def test_an_upstream_that_is_away(proxy: Any, examine: Examine, dead_port: int) -> None:
    """The proxy's own 502 is told from a proxy that is away."""
    found = examine(proxy(f"http://127.0.0.1:{dead_port}").url)
    assert "FAIL 502" in found.of("call")
    assert "what is before it, gets no answer" in found.of("call")


def test_a_hub_that_cannot_be_read(
    upstream: Any, proxy: Any, examine: Examine, monkeypatch: pytest.MonkeyPatch, dead_port: int
) -> None:
    """Records that cannot be looked for are a failure with its reason; the calls were fine all the same."""
    monkeypatch.setattr("app.doctor.checks.RECORD_S", 5.0)
    nowhere = (
        f"Endpoint=sb://localhost:{dead_port};SharedAccessKeyName=x;SharedAccessKey=hub-secret;"
        "UseDevelopmentEmulator=true;EntityPath=h"
    )
    found = examine(proxy(upstream(model).url).url, "--hub-conn-str", nowhere)
    assert "FAIL none of the call arrived at the hub" in found.of("records")
    assert found.words("stream") == ["ok", "ok"]
    assert found.status == 1
    assert "hub-secret" not in found.said


def test_a_proxy_that_is_not_ready(upstream: Any, proxy: Any, examine: Examine, dead_port: int) -> None:
    """Records that wait too long show: /health/ready answers 503, and what waits is said."""
    nowhere = environ("", f"Endpoint=sb://localhost:{dead_port}", ROOT)["AZURE_EVENTHUB_CONN_STR"]
    running = proxy(
        upstream(model).url,
        f"{nowhere};SharedAccessKeyName=x;SharedAccessKey=x;UseDevelopmentEmulator=true;EntityPath=h",
        PROXY_READY_MAX_BACKLOG_SECONDS="0.001",
        PROXY_SHUTDOWN_SECONDS="1",
    )
    examine(running.url)
    found = examine(running.url)
    assert found.of("ready").startswith("FAIL 503: ")
    assert found.status == 1
