"""The handshake of a session: who may begin one, what upstream sees of it, and what a refusal becomes."""

import json
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from tests.app.sessions.service import REALTIME, RESPONSES, Service, session
from tests.kit.proxy import KEY

PREVIEW = "/openai/realtime?api-version=2024-10-01-preview&deployment=gpt-4o-realtime-preview"


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


def refusal(url: str, path: str = REALTIME, **more: Any) -> Any:
    with pytest.raises(InvalidStatus) as refused, session(url, path, **more):
        pass
    return refused.value.response


@pytest.mark.parametrize(
    ("path", "more"),
    [
        (REALTIME, {"headers": {"api-key": KEY}}),
        (REALTIME, {"headers": {"api-key": "", "authorization": f"Bearer {KEY}"}}),
        (f"{REALTIME}&api-key={KEY}", {"headers": {"api-key": ""}}),
        (f"{REALTIME}&authorization=Bearer%20{KEY}", {"headers": {"api-key": ""}}),
        (REALTIME, {"headers": {"api-key": ""}, "subprotocols": ["realtime", f"openai-insecure-api-key.{KEY}"]}),
        (PREVIEW, {}),
        (RESPONSES, {}),
    ],
)
def test_a_client_with_a_key_begins_a_session(service: Service, proxy: Any, path: str, more: dict[str, Any]) -> None:
    """In a header, in the query or as a subprotocol; upstream gets the proxy's key and never the client's."""
    service.script = echo
    more = (
        {**more, "subprotocols": [Subprotocol(one) for one in more["subprotocols"]]} if "subprotocols" in more else more
    )
    with session(proxy(service.url).url, path, **more) as client:
        client.send("hello")
        assert client.recv(60) == "hello"
        assert client.subprotocol == ("realtime" if "subprotocols" in more else None)
    (request,) = service.requests
    assert request.headers["api-key"] == "upstream-key-0"
    assert KEY not in request.path + str(request.headers)
    assert request.path == path.partition("&api-key")[0].partition("&authorization")[0]
    assert "traceparent" in request.headers
    assert "sec-websocket-extensions" not in request.headers


def test_compression_is_declined(service: Service, proxy: Any) -> None:
    """A client that offers it goes on without; the service is not asked."""
    service.script = echo
    with session(proxy(service.url).url, compression="deflate") as client:
        client.send("hello")
        assert client.recv(60) == "hello"
        assert client.response is not None
        assert "sec-websocket-extensions" not in client.response.headers


@pytest.mark.parametrize("headers", [{"api-key": ""}, {"api-key": "wrong"}])
def test_a_client_without_a_key_is_refused(service: Service, proxy: Any, headers: dict[str, str]) -> None:
    """With 401 in the family's shape; upstream hears nothing of it."""
    response = refusal(proxy(service.url).url, headers=headers)
    assert response.status_code == 401
    assert json.loads(response.body)["error"]["code"] == "invalid_api_key"
    assert service.requests == []


@pytest.mark.parametrize("status", [400, 401, 404])
def test_upstreams_refusal_passes(service: Service, proxy: Any, status: int) -> None:
    """Status, headers and body; there is no record, since there is no call."""
    service.refusal = lambda request: status
    response = refusal(proxy(service.url).url)
    assert (response.status_code, bytes(response.body)) == (status, b'{"error":{"a": 1}}')
    assert response.headers["content-type"] == "application/json"
    assert len(response.headers["x-trace-id"]) == 32


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_other_backends_are_tried(service: Service, proxy: Any, status: int) -> None:
    """After 408, 429 and 5xx, and where there is no connection."""
    service.script = echo
    busy = Service(echo, lambda request: status)
    try:
        backends = [
            {"name": "gone", "base_url": "http://127.0.0.1:9", "key": "a"},
            {"name": "busy", "base_url": busy.url, "key": "b", "priority": 1},
            {"name": "free", "base_url": service.url, "key": "c", "priority": 2},
        ]
        running = proxy(service.url, AZURE_OPENAI_BACKENDS=json.dumps(backends))
        with session(running.url) as client:
            client.send("hello")
            assert client.recv(60) == "hello"
    finally:
        busy.close()
    assert (len(busy.requests), service.requests[0].headers["api-key"]) == (1, "c")


def test_no_backend_at_all(proxy: Any) -> None:
    """502, as for any call."""
    response = refusal(proxy("http://127.0.0.1:9").url)
    assert response.status_code == 502


def test_a_path_without_sessions(service: Service, proxy: Any) -> None:
    """404, and the connection serves the next request."""
    assert refusal(proxy(service.url).url, "/openai/v1/chat/completions").status_code == 404
    assert service.requests == []
