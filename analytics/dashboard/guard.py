"""Guard: middleware that lets only the page itself read its data, and keeps content of records from running as code.

The server listens on loopback, which every web site in the same browser can reach too. The Host header reveals a site
whose name resolves to this address (DNS rebinding); Sec-Fetch-Site, which a browser sets and a page cannot, reveals a
cross-origin request.
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
        # neither our code nor a library may turn a string into markup or code
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
    """Responds 421 to a Host that is not this machine, 403 to another site, 405 to methods other than GET and HEAD."""

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
        return PlainTextResponse("This page is served to this machine only.\n", 421)
    # a link on another site may open the page, but not its data
    opens = headers.get("sec-fetch-mode") == "navigate" and scope["path"] == "/"
    if headers.get("sec-fetch-site", "none") not in _OURS and not opens:
        return PlainTextResponse("Other sites may not read this.\n", 403)
    if scope["method"] not in ("GET", "HEAD"):
        return PlainTextResponse("This page is read-only.\n", 405)
    return None
