"""The hub read as whoever is logged in, where it takes no connection string."""

import json
import time
from typing import Any

import pytest

from tests.app.doctor.conftest import Examine
from tests.app.doctor.patient import model
from tests.kit.upstream import Reply, Seen


def test_a_namespace_that_cannot_be_read(
    upstream: Any, proxy: Any, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a namespace the doctor looks for records without a key; if nobody is there it says so, and no more."""

    async def identity(request: Seen, reply: Reply) -> None:
        token = {"access_token": "entra-token", "expires_on": str(int(time.time()) + 3600), "token_type": "Bearer"}
        await reply.json(json.dumps(token | {"resource": "x"}).encode())

    monkeypatch.setattr("app.doctor.checks.RECORD_S", 8.0)
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{upstream(identity).url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "identity-secret")
    running = proxy(upstream(model).url)
    found = examine(running.url, "--hub-namespace", "localhost", "--hub-name", "records")
    assert "FAIL none of the call arrived at the hub" in found.of("records")
    assert found.words("stream") == ["ok", "ok"]
    assert found.status == 1
    assert "entra-token" not in found.said


def test_a_namespace_needs_a_hub(upstream: Any, proxy: Any, examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A namespace alone does not say which hub."""
    monkeypatch.delenv("AZURE_EVENTHUB_NAME", raising=False)
    found = examine(proxy(upstream(model).url).url, "--hub-namespace", "a.servicebus.windows.net")
    assert "FAIL not looked for: no --hub-name names a hub" in found.of("records")
    assert found.status == 1
