"""Application Insights with Entra ID instead of a key: tokens from App Service's identity endpoint, sent over TLS."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import trustme

from tests.kit.hub import wait_until
from tests.kit.ingestion import Ingestion
from tests.kit.upstream import Reply, ScriptedUpstream, Seen
from tests.kit.wire import CHAT, client
from tests.otel.conftest import StartMonitored, question, waiting

TOKEN = "planted-entra-token"


async def identity(request: Seen, reply: Reply) -> None:
    """The endpoint that App Service and Functions provide for an app."""
    assert request.header("x-identity-header") == "identity-secret"
    token = {"access_token": TOKEN, "expires_on": str(int(time.time()) + 3600), "token_type": "Bearer"}
    await reply.json(json.dumps({**token, "resource": "https://monitor.azure.com"}).encode())


@pytest.fixture(scope="module")
def endpoint() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(identity) as server:
        yield server
    assert not server.failures, server.failures


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def guarded(authority: trustme.CA, tmp_path: Path) -> Iterator[Ingestion]:
    """Ingestion over TLS: a token is never sent in the clear."""
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    receiver = Ingestion(tmp_path / "server.pem")
    yield receiver
    receiver.close()


@pytest.fixture
def settings(endpoint: ScriptedUpstream, authority: trustme.CA, tmp_path: Path) -> dict[str, str]:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return {
        "REQUESTS_CA_BUNDLE": str(tmp_path / "ca.pem"),
        "IDENTITY_ENDPOINT": f"{endpoint.url}/msi/token",
        "IDENTITY_HEADER": "identity-secret",
        "PROXY_TRACE_RATIO": "1",
    }


@pytest.mark.parametrize(("authentication", "client_id"), [("", None), (";ClientId=identity-7", "identity-7")])
def test_telemetry_is_sent_with_the_identitys_token(
    monitored: StartMonitored,
    guarded: Ingestion,
    endpoint: ScriptedUpstream,
    settings: dict[str, str],
    authentication: str,
    client_id: str | None,
) -> None:
    """Traces and metrics arrive with a token for Azure Monitor, of the named identity or the app's own; the token is
    not in the log."""
    asked_before = len(endpoint.seen)
    proxy = monitored(
        APPLICATIONINSIGHTS_CONNECTION_STRING=guarded.conn_str,
        APPLICATIONINSIGHTS_AUTHENTICATION_STRING=f"Authorization=AAD{authentication}",
        **settings,
    )
    with client(proxy.url) as caller:
        answer = caller.send("POST", CHAT, question())
        answer.read()
    assert guarded.call(answer.trace_id)
    guarded.wait_for(lambda: guarded.metrics("proxy.calls.active"))
    assert {received.headers["authorization"] for received in guarded.received} == {f"Bearer {TOKEN}"}
    asked = [unquote(seen.target) for seen in endpoint.seen[asked_before:]]
    assert asked
    assert all("resource=https://monitor.azure.com" in target for target in asked)
    assert {client_id is not None and f"client_id={client_id}" in target for target in asked} == {client_id is not None}
    assert TOKEN not in "".join(proxy.output)


def test_an_identity_without_the_role_hurts_no_call(
    monitored: StartMonitored, guarded: Ingestion, settings: dict[str, str]
) -> None:
    """While ingestion responds with 401, calls work, and traces wait on disk without the token."""
    guarded.status = 401
    proxy: Any = monitored(
        APPLICATIONINSIGHTS_CONNECTION_STRING=guarded.conn_str,
        APPLICATIONINSIGHTS_AUTHENTICATION_STRING="Authorization=AAD",
        **settings,
    )
    with client(proxy.url) as caller:
        answer = caller.send("POST", CHAT, question())
        assert (answer.status, bool(answer.read())) == (200, True)

    wait_until(lambda: answer.trace_id in waiting(proxy))
    assert TOKEN not in waiting(proxy) + "".join(proxy.output)
