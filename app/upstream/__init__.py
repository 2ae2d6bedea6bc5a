"""Upstream as seen from here: kept connections over which requests go out and answers come in, bytes as they are.

Pool          keeps connections, opens new ones, gives each request one        (pool.py)
Connection    one connection: writes a request, reads its answer               (connection.py)
Answer        one answer: its head, and its body as it comes                   (received.py)
UpstreamFault and the ways in which all that fails                             (faults.py)
UpstreamAuth  what lets the proxy in: a key, or a token of its identity       (credentials.py)
"""

from app.upstream.faults import Disconnected, NotHttp, Unreachable, UpstreamFault
from app.upstream.pool import Origin, Pool, Request
from app.upstream.received import Answer

__all__ = ["Answer", "Disconnected", "NotHttp", "Origin", "Pool", "Request", "Unreachable", "UpstreamFault"]
