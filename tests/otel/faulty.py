"""A proxy whose relay logs, and then raises exceptions that quote a caller, as a bug of ours might."""

import logging

from starlette.types import Receive, Scope, Send

import app.main
import app.proxy_app
from app.relay.relay import Relay

log = logging.getLogger("app.faulty")


async def fail(self: Relay, scope: Scope, receive: Receive, send: Send) -> None:
    log.warning("about to %s", "fail")
    try:
        raise ValueError("the prompt")
    except ValueError:
        log.exception("it failed")
    raise RuntimeError("the answer")


def create_app() -> app.proxy_app.ProxyApp:
    Relay.__call__ = fail  # type: ignore[method-assign]
    return app.main.create_app()
