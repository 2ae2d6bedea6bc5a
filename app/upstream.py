"""Upstream: one pooled session for the process, and the request that goes out over it."""

from collections.abc import AsyncIterator

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from aiohttp.client import _RequestContextManager
from multidict import CIMultiDict
from yarl import URL

from app.backends import Backend
from app.door import Admitted
from app.headers import to_upstream

type Body = bytes | AsyncIterator[bytes] | None

CONNECT_S = 10.0
IDLE_S = 30.0  # below the time after which Azure's front ends close an idle connection


def open_session() -> ClientSession:
    """A session that changes nothing: no decompression, no cookies, no headers or redirects of its own.

    Must be called on the loop it is to be used on. How long a call may take is its deadline's to say.
    """
    return ClientSession(
        connector=TCPConnector(limit=0, keepalive_timeout=IDLE_S, ttl_dns_cache=60),
        timeout=ClientTimeout(total=None, sock_connect=CONNECT_S),
        cookie_jar=DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
    )


async def outgoing_headers(
    admitted: Admitted, caller_headers: frozenset[bytes], backend: Backend, trace: dict[str, str]
) -> CIMultiDict[str]:
    """The client's headers, with our credential in place of its own and the span's context in place of its trace."""
    headers = CIMultiDict(to_upstream(admitted.headers, caller_headers))
    name, value = await backend.auth.header()
    headers[name] = value
    headers.update(trace)
    return headers


def ask(
    session: ClientSession, backend: Backend, admitted: Admitted, headers: CIMultiDict[str], body: Body
) -> _RequestContextManager:
    """Send the request; the awaited result has upstream's status and headers, and its body yet to come."""
    target = backend.base_url + admitted.path + ("?" + admitted.query if admitted.query else "")
    if admitted.content_length is not None and not isinstance(body, bytes | None):
        headers["content-length"] = str(admitted.content_length)
    return session.request(
        admitted.method, URL(target, encoded=True), headers=headers, data=body, allow_redirects=False
    )
