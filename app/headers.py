"""Which headers are dropped, in each direction; all others pass through."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_plus

type RawHeaders = Sequence[tuple[bytes, bytes]]

# RFC 9110 §7.6.1 and RFC 9112: these concern one connection, not the message. So does http2-settings (RFC 7540 §3.2.1):
# `connection` names it, but not behind an nginx that sets `Connection: upgrade` itself
HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# Upstream must not see the client's credentials for the proxy; App Service repeats the URL, with its `code`, in some.
CREDENTIALS: Final = frozenset(
    {
        b"api-key",
        b"authorization",
        b"cookie",
        b"ocp-apim-subscription-key",
        b"x-functions-key",
        b"x-functions-clientid",
        b"x-arr-ssl",
        b"x-original-url",
        b"x-waws-unencoded-url",
    }
)
CREDENTIAL_PREFIXES: Final = (b"x-ms-client-principal", b"x-ms-token-", b"x-proxy-")
# Set again for the upstream request, or already handled by our server (`expect`)
REMADE: Final = frozenset({b"host", b"content-length", b"expect", b"traceparent", b"tracestate", b"x-ms-invocation-id"})
_NOT_UPSTREAM: Final = HOP_BY_HOP | CREDENTIALS | REMADE
# An upstream or gateway that echoes the request's headers would disclose the proxy's own credential
NOT_CLIENT: Final = HOP_BY_HOP | {b"api-key", b"authorization"}

# RFC 9110 §5.5 forbids control characters in values; uvicorn would reject the whole response because of one
_UNSENDABLE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_is_name: Final = lru_cache(maxsize=256)(re.compile(rb"[\w!#$%&'*+.^`|~-]+", re.ASCII).fullmatch)

SECRET_QUERY: Final = frozenset({"code", "subscription-key", "sig", "api-key"})
_MAY_BE_SECRET: Final = re.compile("|".join(SECRET_QUERY).encode(), re.IGNORECASE)


def decoded(value: bytes) -> str:
    """A header's value: UTF-8, as nearly all senders encode it, else Latin-1 (RFC 9110 §5.5 leaves it open)."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def to_upstream(headers: RawHeaders, caller_headers: frozenset[bytes]) -> list[tuple[bytes, bytes]]:
    """The client's headers to send upstream, without the credential and trace context that are added later."""
    without = _NOT_UPSTREAM | caller_headers | _named_by_connection(headers)
    return [
        (name, value) for name, value in headers if name not in without and not name.startswith(CREDENTIAL_PREFIXES)
    ]


def to_client(headers: RawHeaders, without: frozenset[bytes] = NOT_CLIENT) -> list[tuple[bytes, bytes]]:
    """Upstream's headers to send to the client; names are in lower case."""
    named = _named_by_connection(headers)
    kept = [(name, value) for name, value in headers if name not in without and name not in named and _is_name(name)]
    if not _UNSENDABLE.search(b"".join([value for _, value in kept])):  # nearly always: one search for all values
        return kept
    return [(name, value) for name, value in kept if not _UNSENDABLE.search(value)]


def first(headers: RawHeaders, wanted: bytes) -> str | None:
    """The first value of a header (`wanted` in lower case), None when it is absent."""
    for name, value in headers:
        if name == wanted:
            return decoded(value)
    return None


def without_secrets(query: bytes) -> bytes:
    """A query string without the parameters that carry keys."""
    # most queries contain no such name; the others are decoded as a server would
    if b"%" not in query and b"+" not in query and not _MAY_BE_SECRET.search(query):
        return query
    kept = [pair for pair in query.split(b"&") if _parameter_name(pair) not in SECRET_QUERY]
    return b"&".join(kept)


def _parameter_name(pair: bytes) -> str:
    return unquote_plus(pair.partition(b"=")[0].decode("latin-1")).lower()


def _named_by_connection(headers: RawHeaders) -> frozenset[bytes]:
    """Headers that `connection` declares to be hop-by-hop."""
    if b"connection" not in dict(headers):  # the usual case
        return frozenset()
    return frozenset(
        token.strip().lower() for name, value in headers if name == b"connection" for token in value.split(b",")
    )
