"""What an exchange leaves behind."""

import asyncio
from typing import Any

import pytest
from opentelemetry.trace import NoOpTracer

from app.door.body import RequestBody
from app.errors import ProxyError, UpstreamUnreachable
from app.operations.chat import Chat
from app.relay.attempts import UpstreamResponse
from app.relay.cutoff import Cutoff
from app.relay.exchange import Exchange
from otel.call import Call, Status
from otel.span import CallSpan

type Sent = list[Any]


async def exchanged(fault: Exception) -> tuple[Call, ProxyError | None, Sent]:
    """A call whose asking fails so: the error to answer with, and what the client was sent before it.

    The server never says that the client has left.
    """
    asked_for = asyncio.Event()
    sent: Sent = []

    async def receive() -> dict[str, Any]:
        if asked_for.is_set():
            await asyncio.Event().wait()
        asked_for.set()
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    async def ask() -> UpstreamResponse:
        raise fault

    body, call = RequestBody(receive, 100, None), Call(operation="chat")
    await body.whole()
    exchange = Exchange(call, CallSpan(NoOpTracer(), call), Chat(), Cutoff(), drain_on_abort=False)
    return call, await exchange.run(ask, body, 60, send), sent


def test_nobody_waits_for_a_client_whose_call_has_ended() -> None:
    """Also where the server never says that the client has left."""

    async def serve() -> ProxyError | None:
        _, error, sent = await exchanged(UpstreamUnreachable("Azure OpenAI could not be reached."))
        left = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait_for(asyncio.gather(*left, return_exceptions=True), 5)
        assert sent == []
        return error

    assert isinstance(asyncio.run(serve()), UpstreamUnreachable)


def test_a_fault_of_our_own_is_an_answer_and_a_failed_call(caplog: pytest.LogCaptureFixture) -> None:
    """What nobody foresaw is a clear error for the client, and the call is not counted as completed."""
    call, error, sent = asyncio.run(exchanged(LookupError("planted")))
    assert (call.status, call.error_code) == (Status.UPSTREAM_ERROR, "proxy_error")
    assert sent == []
    assert error is not None
    assert (error.status, error.code) == (500, "proxy_error")
    assert "planted" not in error.message
    assert "a call failed due to an error in the proxy" in caplog.text
