"""Handshake: asks one backend after the other to accept a session, with the client's own key and version."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from app.door.door import Admitted
from app.door.session_keys import KEY_PROTOCOL, protocols
from app.errors import UpstreamUnreachable
from app.headers import NOT_CLIENT, to_client, to_upstream
from app.relay.attempts import RETRY_STATUSES, Headers, origin_and_prefix
from app.relay.backends import Backend, Backends, retry_after
from app.upstream import Answer, Connection, Pool, Request, UpstreamFault

MAX_REFUSAL: Final = 64 * 1024
_PROTOCOLS: Final = b"sec-websocket-protocol"
# compressed messages could not be read; and a server need not accept what is offered (RFC 6455 §9.1)
_NOT_UPSTREAM: Final = frozenset({_PROTOCOLS, b"sec-websocket-extensions"})
_DROPPED: Final = NOT_CLIENT | {b"x-trace-id"}


@dataclass(slots=True)
class Accepted:
    """A backend that switched protocols; its connection is to be detached, or closed."""

    backend: Backend
    answer: Answer
    connection: Connection


@dataclass(slots=True)
class Refused:
    """The last backend's refusal."""

    status: int
    headers: Headers
    body: bytes


@dataclass(slots=True)
class Handshake:
    """Shared by all sessions."""

    backends: Backends
    pool: Callable[[], Pool]
    caller_headers: frozenset[bytes] = field(default_factory=frozenset)

    async def ask(self, admitted: Admitted, sticky: str | None, trace: Headers) -> Accepted | Refused:
        """Try backends until one gives an answer other than 408, 429 or 5xx, or none is left.

        Raises UpstreamFault or UpstreamUnreachable if the last did not respond.
        """
        deployment = admitted.target.deployment
        headers = _upstream_headers(admitted, self.caller_headers) + trace
        outcome: Refused | UpstreamFault | UpstreamUnreachable | None = None
        for backend in self.backends.order(deployment, sticky, admitted.family.name):
            try:
                answer, connection = await self._send(backend, admitted, headers)
            except (UpstreamFault, UpstreamUnreachable) as fault:
                self.backends.cool_off(backend, deployment, None)
                outcome = fault
                continue
            if answer.status == 101:
                return Accepted(backend, answer, connection)
            try:
                outcome = Refused(answer.status, to_client(answer.headers, _DROPPED), await answer.read(MAX_REFUSAL))
            except UpstreamFault as fault:
                outcome = fault
            finally:
                connection.close()
            if answer.status not in RETRY_STATUSES and answer.status < 500:
                break
            pause = retry_after(answer.header(b"retry-after-ms"), answer.header(b"retry-after"))
            self.backends.cool_off(backend, deployment, pause)
        if isinstance(outcome, Refused):
            return outcome
        raise outcome or UpstreamUnreachable("No backend can be asked.")

    async def _send(self, backend: Backend, admitted: Admitted, headers: Headers) -> tuple[Answer, Connection]:
        name, value = await backend.auth.header()
        origin, prefix = origin_and_prefix(backend.base_url)
        target = prefix + admitted.path + ("?" + admitted.query if admitted.query else "")
        upgrade = [(b"connection", b"Upgrade"), (b"upgrade", b"websocket"), (name.encode(), value.encode())]
        return await self.pool().upgrade(origin, Request("GET", target, [*headers, *upgrade]))


def _upstream_headers(admitted: Admitted, caller_headers: frozenset[bytes]) -> Headers:
    """The client's headers without the proxy's, and its subprotocols without a key among them."""
    headers = [pair for pair in to_upstream(admitted.headers, caller_headers) if pair[0] not in _NOT_UPSTREAM]
    offered = [protocol for protocol in protocols(admitted.headers) if not protocol.startswith(KEY_PROTOCOL)]
    if offered:
        headers.append((_PROTOCOLS, ", ".join(offered).encode("latin-1")))
    return headers


def response_head(answer: Answer, trace_id: str) -> bytes:
    """The head that tells the client of the accepted session: upstream's, with its key's proof."""
    headers = [*to_client(answer.headers, _DROPPED), (b"x-trace-id", trace_id.encode())]
    lines = [b"HTTP/1.1 101 Switching Protocols", b"connection: Upgrade", b"upgrade: websocket"]
    return b"\r\n".join([*lines, *(name + b": " + value for name, value in headers), b"", b""])
