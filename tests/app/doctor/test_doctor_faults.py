"""What the doctor reports for each way in which a deployment can be broken."""

from typing import Any

import pytest

from tests.app.doctor.conftest import Examine
from tests.app.doctor.model import model
from tests.kit.proxy import KEY
from tests.kit.upstream import Reply
from tests.kit.upstream import Seen as Request


def test_a_refused_key_fails(upstream: Any, proxy: Any, examine: Examine) -> None:
    """A wrong key is reported once, without repeating it."""
    server = upstream(model)
    found = examine(proxy(server.url).url, "--key", "not-the-key")
    assert "401 Access denied" in found.of("call")
    assert found.of("stream") == ""
    assert (found.status, server.seen) == (1, [])
    assert "not-the-key" not in found.said


def test_open_access_is_reported(upstream: Any, proxy: Any, examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Access without a key is noted, or is a failure if a key is configured."""
    running = proxy(upstream(model).url, PROXY_CLIENT_KEYS="", PROXY_ALLOW_ANONYMOUS="true")
    assert "FAIL a wrong key is accepted (200)" in examine(running.url).of("keys")
    monkeypatch.delenv("AZURE_OPENAI_API_KEY")
    found = examine(running.url)
    assert "note no key is needed (200)" in found.of("keys")
    assert found.status == 0


def test_the_key_header_can_be_chosen(upstream: Any, proxy: Any, examine: Examine) -> None:
    """--key-header sends the key in the header that API Management or the Functions host expects, and only there."""

    async def host(request: Request, reply: Reply) -> None:
        assert request.header("api-key") in (None, "none")
        if request.target.startswith("/openai") and request.header("x-functions-key") != KEY:
            await reply.json(b"{}", 401)
        else:
            await model(request, reply)

    found = examine(upstream(host).url, "--key-header", "x-functions-key")
    assert "refused (401)" in found.of("keys")
    assert "responded after" in found.of("call")
    assert "FAIL no x-trace-id in the response: this address bypasses the proxy" in found.of("call")
    assert "not in this proxy's format" in found.of("ready")


def test_an_unreachable_address_ends_the_checks(examine: Examine, dead_port: int) -> None:
    """A refused connection or an invalid URL ends the checks with a reason."""
    found = examine(f"http://127.0.0.1:{dead_port}")
    assert [(word, check) for word, check, _ in found.lines] == [("FAIL", "reachable")]
    assert "refused" in found.of("reachable")
    assert found.status == 1
    assert examine("nonsense").status == 1


def test_another_service_at_the_address_is_reported(upstream: Any, examine: Examine) -> None:
    """A server that does not speak HTTP is distinguished from none; one without a health page may be a gateway."""

    async def noise(request: Request, reply: Reply) -> None:
        await reply.raw(b"SSH-2.0-planted\r\n\r\n")
        reply.writer.close()

    assert "is not HTTP" in examine(upstream(noise).url).of("reachable")
    found = examine(upstream(lambda request, reply: reply.json(b"{}", 404)).url)
    assert "note /health/live responded 404" in found.of("reachable")
    assert found.of("call").startswith("FAIL 404")


@pytest.mark.parametrize("conn_str", ["nonsense", "Endpoint=sb://x.example/;SharedAccessKeyName=a;SharedAccessKey=b"])
def test_an_invalid_connection_string_is_reported(upstream: Any, proxy: Any, examine: Examine, conn_str: str) -> None:
    """An invalid one, or one without a hub, is reported before the calls, which are still made."""
    found = examine(proxy(upstream(model).url).url, "--hub-conn-str", conn_str)
    assert "FAIL not checked" in found.of("records")
    assert found.words("call") == ["ok", "ok"]


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (404, b'{"error":{"code":"DeploymentNotFound","message":"It does not exist."}}', "no such deployment"),
        (429, b'{"error":{"code":"429","message":"Slow down."}}', "quota is used up"),
        (500, b'{"error":{"code":"500","message":"planted client-key-0"}}', "500 planted …"),
        (401, b'{"error":{"code":"401","message":"Upstream says no."}}', "or the proxy's own key is"),
    ],
)
def test_upstream_errors_are_explained(
    upstream: Any, proxy: Any, examine: Examine, status: int, body: bytes, said: str
) -> None:
    """An error is shown with upstream's message, a likely cause, and never a key."""
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
def test_a_response_without_a_completion_is_reported(
    upstream: Any, examine: Examine, body: bytes, content_type: str, said: str
) -> None:
    """A sign-in page or another API is reported as not being a completion."""
    server = upstream(lambda request, reply: reply.json(body, 200, {"content-type": content_type}))
    found = examine(server.url)
    assert said in found.of("call")
    assert found.status == 1


def test_an_unreachable_upstream_is_reported(proxy: Any, examine: Examine, dead_port: int) -> None:
    """The proxy's own 502 is distinguished from an unreachable proxy."""
    found = examine(proxy(f"http://127.0.0.1:{dead_port}").url)
    assert "FAIL 502" in found.of("call")
    assert "a gateway in front of it, gets no response" in found.of("call")


def test_an_unreadable_hub_fails(
    upstream: Any, proxy: Any, examine: Examine, monkeypatch: pytest.MonkeyPatch, unreachable_hub: str
) -> None:
    """Records that cannot be read are a failure; the calls are still checked."""
    monkeypatch.setattr("app.doctor.checks.RECORD_S", 0.1)
    found = examine(proxy(upstream(model).url).url, "--hub-conn-str", unreachable_hub)
    assert "FAIL no record of the call arrived at the hub" in found.of("records")
    assert found.words("stream") == ["ok", "ok"]
    assert found.status == 1
    assert "hub-secret" not in found.said


def test_a_proxy_that_is_not_ready_fails(upstream: Any, proxy: Any, examine: Examine, unreachable_hub: str) -> None:
    """A 503 of /health/ready, because records wait too long, is a failure."""
    running = proxy(
        upstream(model).url,
        unreachable_hub,
        PROXY_READY_MAX_BACKLOG_SECONDS="0.001",
        PROXY_SHUTDOWN_SECONDS="1",
    )
    examine(running.url)
    found = examine(running.url)
    assert found.of("ready").startswith("FAIL 503: ")
    assert found.status == 1
