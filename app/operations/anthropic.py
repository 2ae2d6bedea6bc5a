"""Anthropic's family of paths, `/anthropic/…`: Claude on the same resource. Nothing is added to a path or a query."""

from typing import Final

import orjson

from app.errors import ProxyError
from app.operations.family import Family, Target
from app.operations.messages import CountTokens, Messages

_TYPES: Final = {
    401: "authentication_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "overloaded_error",
    504: "api_error",
}


def error_body(error: ProxyError) -> bytes:
    """`{"type": "error", "error": {"type", "message"}}`, as Anthropic's clients read it."""
    kind = _TYPES.get(error.status, "invalid_request_error")
    return orjson.dumps({"type": "error", "error": {"type": kind, "message": error.message}})


def target_of(path: str) -> Target:
    """The path after the prefix; a slash at its end does not matter."""
    return Target(path.removeprefix("/anthropic/").removesuffix("/"), takes_api_version=False)


ANTHROPIC: Final = Family(
    name="messages",
    prefix="/anthropic/",
    operations={"v1/messages": Messages(), "v1/messages/count_tokens": CountTokens()},
    target=target_of,
    error_body=error_body,
    sessions=frozenset(),
    key_headers=(b"x-api-key", b"api-key"),
    provider="anthropic",
    upstream_keys=("api-key", "x-api-key"),
)
