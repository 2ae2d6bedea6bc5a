"""Exchange: no task outlives a call, and an unexpected exception is a proper error."""

import asyncio
from typing import Any

import pytest
from opentelemetry.trace import NoOpTracer

from app.door.body import RequestBody
from app.errors import ProxyError, UpstreamUnreachable
from app.operations.chat import Chat
from app.relay.cutoff import Cutoff
from app.relay.exchange import Exchange
from app.relay.held import UpstreamResponse
from otel.call import Call, Status
from otel.span import CallSpan

type Sent = list[Any]


async def failed(fault: Exception) -> tuple[Call, ProxyError | None, Sent]:
    """A call that fails with `fault`: the call, the error to send, and what was sent before it.

    The server never reports a disconnect.
    """
    received_body = asyncio.Event()
    sent: Sent = []

    async def receive() -> dict[str, Any]:
        if received_body.is_set():
            await asyncio.Event().wait()
        received_body.set()
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    async def ask() -> UpstreamResponse:
        raise fault

    body, call = RequestBody(receive, 100, None), Call(operation="chat")
    await body.whole()
    exchange = Exchange(call, CallSpan(NoOpTracer(), call), Chat(), Cutoff(), drain_on_abort=False)
    return call, await exchange.run(ask, body, 60, send), sent


def test_no_task_outlives_the_call() -> None:
    """Even if the server never reports a disconnect."""

    async def serve() -> ProxyError | None:
        _, error, sent = await failed(UpstreamUnreachable("Azure OpenAI could not be reached."))
        left = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait_for(asyncio.gather(*left, return_exceptions=True), 5)
        assert sent == []
        return error

    assert isinstance(asyncio.run(serve()), UpstreamUnreachable)


def test_an_unexpected_exception_is_a_500_and_a_failed_call(caplog: pytest.LogCaptureFixture) -> None:
    """The client gets an error without details, and the call is not recorded as completed."""
    call, error, sent = asyncio.run(failed(LookupError("planted")))
    assert (call.status, call.error_code) == (Status.UPSTREAM_ERROR, "proxy_error")
    assert sent == []
    assert error is not None
    assert (error.status, error.code) == (500, "proxy_error")
    assert "planted" not in error.message
    assert "a call failed due to an error in the proxy" in caplog.text
