"""The doctor reads the hub with an identity instead of a connection string."""

import json
import time
from typing import Any

import pytest

from tests.app.doctor.conftest import Examine
from tests.app.doctor.model import model
from tests.kit.upstream import Reply, Seen


def test_an_unreadable_namespace_fails(
    upstream: Any, proxy: Any, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a namespace the doctor needs no key; an unreachable hub is reported without the token."""

    async def identity(request: Seen, reply: Reply) -> None:
        token = {"access_token": "entra-token", "expires_on": str(int(time.time()) + 3600), "token_type": "Bearer"}
        await reply.json(json.dumps(token | {"resource": "x"}).encode())

    monkeypatch.setattr("app.doctor.checks.RECORD_S", 0.1)
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{upstream(identity).url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "identity-secret")
    running = proxy(upstream(model).url)
    found = examine(running.url, "--hub-namespace", "localhost", "--hub-name", "records")
    assert "FAIL no record of the call arrived at the hub" in found.of("records")
    assert found.words("stream") == ["ok", "ok"]
    assert found.status == 1
    assert "entra-token" not in found.said


def test_a_namespace_needs_a_hub(upstream: Any, proxy: Any, examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A namespace alone does not identify a hub."""
    monkeypatch.delenv("AZURE_EVENTHUB_NAME", raising=False)
    found = examine(proxy(upstream(model).url).url, "--hub-namespace", "a.servicebus.windows.net")
    assert "FAIL not checked: no --hub-name" in found.of("records")
    assert found.status == 1
