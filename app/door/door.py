"""The door: refuses requests before a call begins, and collects what is known about those it admits."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final
from urllib.parse import unquote, unquote_plus, unquote_to_bytes

from starlette.types import Scope

from app.door.auth import Access
from app.door.caller import CallerFields
from app.door.session_keys import deployment_in, with_session_keys, without_authorization
from app.door.tunnel import offered
from app.errors import MethodNotAllowed, NotFound, NoWebSockets, ProxyError
from app.headers import decoded
from app.operations import Family, Operation, Target

_API_VERSION: Final = re.compile(rb"(?:^|&)api-version=([^&]*)", re.IGNORECASE)
"""Azure ignores the case of a query's names."""
REMEMBERED_BYTES: Final = 256


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that may go upstream."""

    method: str
    path: str
    """As the client wrote it, still percent-encoded."""
    query: str
    headers: list[tuple[bytes, bytes]]
    family: Family
    operation: Operation
    target: Target
    api_version: str | None
    caller: Mapping[str, str]
    content_length: int | None
    has_body: bool
    content_encoding: str | None
    capture_content: bool
    client_request_id: str | None


class Door:
    """Checks path, caller and method, and counts refusals."""

    def __init__(
        self,
        access: Access,
        caller_fields: CallerFields,
        api_version: str | None,
        capture_content: bool,
    ) -> None:
        self._access = access
        self._caller_fields = caller_fields
        self._api_version = api_version
        self._capture_content = capture_content
        self.refused: Counter[str] = Counter()

    def refuse(self, error: ProxyError) -> None:
        """Count a refusal by its code."""
        self.refused[error.code] += 1

    async def admit(self, scope: Scope, family: Family) -> Admitted:
        """The request to a family.

        Raises Unauthorized, IdentityUnavailable, NotFound, MethodNotAllowed or NoWebSockets.
        """
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        named = dict(reversed(headers))  # the first of each name
        method: str = scope["method"]
        session = b"upgrade" in named and offers_websocket(method, named)
        if session and (offered(scope) is None or not family.begins_session(scope["path"])):
            raise self._no_session(scope["path"], family)
        vouched = await self._access.check(with_session_keys(scope) if session else headers, family.key_headers)
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        path, target = (_known_path if len(raw) <= REMEMBERED_BYTES else _checked_path)(raw, family)
        if method == "TRACE":  # its response echoes the request, including our upstream credential
            raise MethodNotAllowed("TRACE is not allowed here.")
        # under v1 it may be another call, such as GET /openai/v1/chat/completions, which lists stored completions
        if method != "POST" and target.deployment is not None and family.operation(target).json_body:
            raise MethodNotAllowed(f"{method} is not allowed here: use POST.")
        operation = family.operation(target, method)
        query, version = self._versioned(scope["query_string"], target)
        if session:
            query = without_authorization(query)
            target = replace(target, deployment=deployment_in(query))
        length, chunked = named.get(b"content-length"), b"transfer-encoding" in named
        return Admitted(
            method=method,
            path=path,
            query=query.decode("latin-1"),
            headers=headers,
            family=family,
            operation=operation,
            target=target,
            api_version=version,
            caller={**self._caller_fields.of_headers(headers), **vouched},
            # transfer-encoding overrides content-length, which must then not be forwarded (RFC 9112 §6.3)
            content_length=int(length) if length and length.isdigit() and not chunked else None,
            content_encoding=_coding(named.get(b"content-encoding")),
            has_body=length not in (None, b"0") or chunked,
            capture_content=self._capture_content and named.get(b"x-proxy-content", b"").lower() != b"none",
            client_request_id=decoded(request_id) if (request_id := named.get(b"x-ms-client-request-id")) else None,
        )

    def _no_session(self, path: str, family: Family) -> ProxyError:
        """Why no WebSocket session begins. Clients that can do without one go over to HTTP at 426, and retry at 404."""
        if family.begins_session(path):
            return NoWebSockets("WebSocket sessions are not served here: use HTTP.")
        return NotFound("There is no WebSocket session at this path.")

    def _versioned(self, query: bytes, target: Target) -> tuple[bytes, str | None]:
        """The query with the default api-version where the client gave none and the path takes one."""
        found = _API_VERSION.search(query) or (b"%" in query and _API_VERSION.search(_with_plain_names(query)))
        if found:
            return query, unquote_plus(found[1].decode("latin-1"))
        if self._api_version is None or not target.takes_api_version:
            return query, None
        added = b"api-version=" + self._api_version.encode()
        return (query + b"&" + added if query else added), self._api_version


def _coding(value: bytes | None) -> str | None:
    """A content-encoding other than identity."""
    coding = decoded(value).strip().lower() if value else ""
    return None if coding in ("", "identity") else coding


def _with_plain_names(query: bytes) -> bytes:
    """A query whose names are no longer percent-encoded."""
    pairs = (pair.partition(b"=") for pair in query.split(b"&"))
    return b"&".join(unquote_to_bytes(name) + equals + value for name, equals, value in pairs)


def offers_websocket(method: str, named: Mapping[bytes, bytes]) -> bool:
    """Whether a request is the handshake of a WebSocket session (RFC 6455 §4.1). Any other offer is ignored."""
    tokens = [token.strip() for token in named.get(b"connection", b"").lower().split(b",")]
    return method == "GET" and named.get(b"upgrade", b"").lower() == b"websocket" and b"upgrade" in tokens


@lru_cache(maxsize=1024)
def _known_path(raw: bytes, family: Family) -> tuple[str, Target]:
    """Cached: clients request the same few paths again and again."""
    return _checked_path(raw, family)


def _checked_path(raw: bytes, family: Family) -> tuple[str, Target]:
    """The path and its target. Raises NotFound for a path that any server might resolve to one outside the family."""
    path = raw.decode("latin-1")
    decoded = unquote(path)
    segments = decoded.split("/")
    tricky = (
        not path.startswith(family.prefix)
        or "\\" in decoded
        or decoded.count("/") != path.count("/")
        or any(segment.partition(";")[0] in (".", "..") for segment in segments)  # some servers read `..;` as `..`
        or "" in segments[1:-1]
        or any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in decoded)
        or "%" in decoded
        or "\ufffd" in decoded  # not UTF-8, such as overlong forms of a dot
    )
    if tricky:
        raise NotFound(f"There is nothing at this path: calls go to {family.prefix}….")
    return path, family.target(decoded)
