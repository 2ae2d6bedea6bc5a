"""A backend without a key gets a token of the managed identity, as Azure Functions issues it."""

import json
import time
from typing import Any
from urllib.parse import unquote

from tests.kit.hub import HubReader
from tests.kit.upstream import Reply, Seen
from tests.kit.wire import chat_body, chat_json, client

CHAT = "/openai/deployments/d/chat/completions?api-version=2024-10-21"


async def identity(request: Seen, reply: Reply) -> None:
    """The identity endpoint that App Service and Functions provide to an app."""
    assert request.header("x-identity-header") == "identity-secret"
    assert "resource=https://cognitiveservices.azure.com" in unquote(request.target)
    await reply.json(
        json.dumps(
            {
                "access_token": "entra-token",
                "expires_on": str(int(time.time()) + 3600),
                "resource": "https://cognitiveservices.azure.com",
                "token_type": "Bearer",
            }
        ).encode()
    )


def test_each_backend_gets_its_own_credential(upstream: Any, process: Any, hub: HubReader) -> None:
    """With a key for one and none for the other, each sees only its own credential; the token is fetched once."""
    busy = upstream(lambda request, reply: reply.json(b"{}", 503, {"retry-after-ms": "0"}))
    free = upstream(lambda request, reply: reply.json(chat_json()))
    endpoint = upstream(identity)
    backends = [
        {"name": "with-key", "base_url": busy.url, "key": "upstream-key-1"},
        {"name": "without", "base_url": free.url, "priority": 1},
    ]
    running = process(
        "",
        AZURE_OPENAI_BACKENDS=json.dumps(backends),
        IDENTITY_ENDPOINT=f"{endpoint.url}/msi/token",
        IDENTITY_HEADER="identity-secret",
    )
    with client(running.url) as caller:
        answers = []
        for _ in range(2):
            answers.append(caller.send("POST", CHAT, chat_body()))
            assert answers[-1].read() == chat_json()
    shown = {
        name: [(seen.header("api-key"), seen.header("authorization")) for seen in server.seen]
        for name, server in (("busy", busy), ("free", free))
    }
    assert shown == {"busy": [("upstream-key-1", None)] * 2, "free": [(None, "Bearer entra-token")] * 2}
    assert len(endpoint.seen) == 1
    said = "".join(running.output) + json.dumps([hub.record(answer.trace_id) for answer in answers])
    assert "entra-token" not in said
    assert "upstream-key-1" not in said
