"""Pool: connections to upstream, kept for reuse while Azure's front ends keep them open."""

import asyncio
import ssl
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final
from urllib.parse import urlsplit

from aiohappyeyeballs import start_connection

from app.upstream.connection import Body, Connection
from app.upstream.faults import Unreachable
from app.upstream.received import Answer

CONNECT_S: Final = 10.0
IDLE_S: Final = 30.0  # below the idle timeout of Azure's front ends
STAGGER_S: Final = 0.25  # RFC 8305: after this long, the next address is tried in parallel


@dataclass(frozen=True, slots=True)
class Origin:
    """The server at the other end of a connection."""

    host: str
    port: int
    secure: bool

    @classmethod
    def of(cls, url: str) -> "Origin":
        """The origin of an http or https URL."""
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        return cls(parts.hostname or "", parts.port or (443 if secure else 80), secure)

    @property
    def authority(self) -> bytes:
        """The value of the `host` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = 443 if self.secure else 80
        return (host if self.port == usual else f"{host}:{self.port}").encode("idna" if not host.isascii() else "ascii")


@dataclass(frozen=True, slots=True)
class Request:
    """A request to send. `target` and `headers` go out unchanged; the pool adds `host` and the body's length."""

    method: str
    target: str
    headers: Iterable[tuple[bytes, bytes]]
    body: Body = None
    length: int | None = None
    """The length of a streamed body; None: send it in chunks."""


class Pool:
    """Belongs to one event loop. No redirects, no cookies, no decompression, no headers of its own.

    Only connecting has a timeout; the caller limits the request as a whole.
    """

    def __init__(self) -> None:
        self._kept: defaultdict[Origin, list[tuple[float, Connection]]] = defaultdict(list)
        self._all: set[Connection] = set()
        self._sweeping: asyncio.TimerHandle | None = None

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
        return context

    @property
    def open(self) -> int:
        """The number of connections, free or in use."""
        return len(self._all)

    def prepare(self) -> None:
        """Load the trusted certificates, which is slow, before the first call needs them."""
        _ = self._tls

    async def request(self, origin: Origin, request: Request) -> Answer:
        """Send a request and return its response once the head has arrived; raises UpstreamFault.

        Cancellation leaves nothing behind. The caller must read the response to its end or close it.
        """
        head, chunked = _head(origin, request)
        connection = self._take(origin) or await self._open(origin)
        return await connection.send(request.method.encode(), head, request.body, chunked)

    async def upgrade(self, origin: Origin, request: Request) -> tuple[Answer, Connection]:
        """Ask to switch protocols on a new connection, which the caller gets with the response to it.

        Raises UpstreamFault. The caller must close it, or detach it after status 101.
        """
        head, _ = _head(origin, request)
        connection = await self._open(origin)
        return await connection.upgrade(head), connection

    async def close(self) -> None:
        """Close all connections."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        for connection in list(self._all):
            connection.close()
        await asyncio.sleep(0)  # sockets are closed in the loop's next iteration

    def _take(self, origin: Origin) -> Connection | None:
        """The most recently used free connection, so that the surplus ones reach their idle limit."""
        kept, oldest = self._kept[origin], time.monotonic() - IDLE_S
        while kept:
            since, connection = kept.pop()
            if connection.closing:
                continue
            if since >= oldest:
                return connection
            connection.close()
        return None

    async def _open(self, origin: Origin) -> Connection:
        loop = asyncio.get_running_loop()

        def connection() -> Connection:
            return Connection(keep, self._all.discard)

        def keep(free: Connection) -> None:
            self._kept[origin].append((time.monotonic(), free))
            if self._sweeping is None:
                self._sweeping = loop.call_later(IDLE_S, self._sweep)

        try:
            async with asyncio.timeout(CONNECT_S):
                found = await loop.getaddrinfo(origin.host, origin.port, type=1)
                socket = await start_connection(found, happy_eyeballs_delay=STAGGER_S, interleave=1)
                _, opened = await loop.create_connection(
                    connection,
                    sock=socket,
                    ssl=self._tls if origin.secure else None,
                    server_hostname=origin.host if origin.secure else None,
                )
        except TimeoutError:
            raise Unreachable("connecting took too long") from None
        except ssl.SSLError as fault:
            raise Unreachable("no trusted TLS connection") from fault
        except (OSError, UnicodeError) as fault:
            raise Unreachable("no connection") from fault
        self._all.add(opened)
        return opened

    def _sweep(self) -> None:
        """Close connections that have been free for too long."""
        self._sweeping = None
        oldest = time.monotonic() - IDLE_S
        for origin, kept in list(self._kept.items()):
            for since, connection in kept:
                if since < oldest:
                    connection.close()
            kept[:] = [(since, connection) for since, connection in kept if not connection.closing]
            if not kept:
                del self._kept[origin]
        if self._kept:
            self._sweeping = asyncio.get_running_loop().call_later(IDLE_S / 4, self._sweep)


def _head(origin: Origin, request: Request) -> tuple[bytes, bool]:
    """The request's head, and whether its body is chunked."""
    lines = [
        f"{request.method} {request.target} HTTP/1.1".encode("latin-1"),
        b"host: " + origin.authority,
        *(name + b": " + value for name, value in request.headers),
    ]
    chunked = False
    if isinstance(request.body, bytes | bytearray):
        lines.append(b"content-length: %d" % len(request.body))
    elif request.body is None:
        if request.method not in ("GET", "HEAD", "OPTIONS", "DELETE"):
            lines.append(b"content-length: 0")
    elif request.length is not None:
        lines.append(b"content-length: %d" % request.length)
    else:
        chunked = True
        lines.append(b"transfer-encoding: chunked")
    head = b"\r\n".join(lines)
    ends = len(lines) - 1
    if head.count(b"\r") != ends or head.count(b"\n") != ends or b"\0" in head:
        raise ValueError("a line of the request's head contains a line end or NUL")  # no server would have accepted it
    return head + b"\r\n\r\n", chunked
