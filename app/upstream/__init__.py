"""The HTTP client for upstream: pooled connections that send requests and receive responses, bytes unchanged.

Pool          keeps connections, opens new ones, assigns one to each request    (pool.py)
Connection    one connection: writes a request, reads its response             (connection.py, leftover.py)
Answer        one response: its head, and its body as it arrives               (received.py)
UpstreamFault and its subclasses: how all that fails                            (faults.py)
UpstreamAuth  the proxy's credential: a key, or a token of its identity         (credentials.py)
"""

from app.upstream.connection import Connection
from app.upstream.faults import Disconnected, NotDecodable, NotHttp, Unreachable, UpstreamFault
from app.upstream.pool import Origin, Pool, Request
from app.upstream.received import Answer

__all__ = [
    "Answer",
    "Connection",
    "Disconnected",
    "NotDecodable",
    "NotHttp",
    "Origin",
    "Pool",
    "Request",
    "Unreachable",
    "UpstreamFault",
]
