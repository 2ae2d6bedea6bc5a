"""Guard: what stands before the page, so that nothing but the page itself reads it, and nothing in a record can act.

The server listens on loopback, which every web site in the same browser can reach too. A site that lets its own name
point here (DNS rebinding) is told by the Host header, and one that asks across origins by Sec-Fetch-Site, which a
browser sets and a page cannot.
"""

from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_NAMES: Final = ("127.0.0.1", "localhost", "[::1]")
_OURS: Final = ("same-origin", "none")  # none: typed by the user, or a bookmark

_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # no string becomes markup or code, neither by us nor by a library
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_HEADERS: Final = {
    "content-security-policy": _POLICY,
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Guard:
    """Answers 421 to a Host that is not this machine, 403 to another site, 405 to all but reading; else passes on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        refused = _refusal(scope)
        await (refused or self._app)(scope, receive, guarded)


def _refusal(scope: Scope) -> PlainTextResponse | None:
    headers = Headers(scope=scope)
    name, _, port = headers.get("host", "").rpartition(":")
    server = scope["server"]
    if name not in _NAMES or port != str(server[1]):
        return PlainTextResponse("This page is served to this machine alone.\n", 421)
    # a link from elsewhere may open the page, not its answers
    opens = headers.get("sec-fetch-mode") == "navigate" and scope["path"] == "/"
    if headers.get("sec-fetch-site", "none") not in _OURS and not opens:
        return PlainTextResponse("Another site may not read this.\n", 403)
    if scope["method"] not in ("GET", "HEAD"):
        return PlainTextResponse("There is nothing to change here.\n", 405)
    return None
