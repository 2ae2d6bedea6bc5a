"""Keys of WebSocket sessions: browsers can set no headers, so a key may come in the query or as a subprotocol."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qs, unquote_plus

from starlette.types import Scope

KEY_PROTOCOL: Final = "openai-insecure-api-key."
QUERY: Final = "proxy.query"
"""Where the scope's extensions hold the query as it came, with its keys."""
_PROTOCOLS: Final = b"sec-websocket-protocol"

type Headers = list[tuple[bytes, bytes]]


def with_session_keys(scope: Scope) -> Headers:
    """The handshake's headers, and the keys from elsewhere as headers behind them: the first of each name counts."""
    headers: Headers = scope["headers"]
    query = parse_qs((scope.get("extensions") or {}).get(QUERY, b"").decode("latin-1"))
    keys = [key for name in ("api-key", "subscription-key") for key in query.get(name, ())]
    keys += [one.removeprefix(KEY_PROTOCOL) for one in protocols(headers) if one.startswith(KEY_PROTOCOL)]
    found = [*headers, *((b"api-key", key.encode()) for key in keys)]
    return found + [(b"authorization", bearer.encode()) for bearer in query.get("authorization", ())]


def protocols(headers: Sequence[tuple[bytes, bytes]]) -> list[str]:
    """The subprotocols that a client offers."""
    values = ",".join(value.decode("latin-1") for name, value in headers if name == _PROTOCOLS)
    return [protocol for part in values.split(",") if (protocol := part.strip())]


def without_authorization(query: bytes) -> bytes:
    """A session's query without the token that may be in it."""
    kept = [
        pair for pair in query.split(b"&") if unquote_plus(pair.partition(b"=")[0].decode("latin-1")) != "authorization"
    ]
    return b"&".join(kept)


def deployment_in(query: bytes) -> str | None:
    """The deployment that a session's query names."""
    named = parse_qs(query.decode("latin-1"))
    found = named.get("model") or named.get("deployment")
    return found[0] if found else None
